"""The documentation site builds strictly, and its pages ask no other site for anything."""

import os
import re
import subprocess
import sys

import pytest
from doc_commands import ROOT

FETCHED = re.compile(
    r"<(?:script|img|iframe|source)[^>]* src=\"?(https?:[^\" >]+)"
    r"|<link rel=\"?(?:stylesheet|preconnect|icon)\"?[^>]*(https?:[^\" >]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.html")}


def test_nothing_is_fetched_from_elsewhere(site):
    assert len(site) > 25
    assert {name: FETCHED.findall(text) for name, text in site.items() if FETCHED.search(text)} == {}


def test_links_that_leave_docs_become_pages_of_the_site(site):
    assert 'href="indexes.html"' in site["readme.html"] and 'href="readme.html"' in site["index.html"]
    assert "../docs/" not in site["readme.html"] and not re.findall(r'href="(?!http)[^"]+\.md"', site["index.html"])


def test_the_reference_has_the_docstrings(site):
    page = site["reference/model.html"]
    assert 'id="clamp3.embedding.clamp3.Clamp3.from_pretrained"' in page and "width of the joint space" in page


def test_pictures_are_small():
    pictures = sorted((ROOT / "docs").rglob("*.png"))
    assert pictures and not [path.name for path in pictures if path.stat().st_size > 200_000]
