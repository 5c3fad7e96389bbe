"""The Python of the documentation runs, block after block of a page, and gives what the page prints."""

import doctest
import re

import pytest
from doc_commands import ROOT

PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if "```pycon\n" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```pycon\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    examples = [example for block in blocks for example in doctest.DocTestParser().get_examples(block)]
    needed = [re.match(r"(?:import|from) (\w+)", example.source) for example in examples]
    for package in {found[1] for found in needed if found}:
        pytest.importorskip(package)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    runner.run(doctest.DocTest(examples, {}, page.name, None, 0, None), out=said.append)
    assert not said, "".join(said)
    assert len(examples) > 5


def test_there_are_such_pages():
    assert {"adapters.md", "python.md"} <= {page.name for page in PAGES}
