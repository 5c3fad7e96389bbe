"""The page's files: all ours, all here, and no text of a file can become markup."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "code/clamp3/server/page"
FILES = sorted(PAGE.iterdir())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc|javascript:"
)


def test_no_script_makes_markup_of_text():
    assert SCRIPTS
    assert not [(path.name, found) for path in SCRIPTS for found in MARKUP.findall(path.read_text())]


def test_nothing_is_loaded_from_elsewhere():
    known = {"http://www.w3.org/2000/svg"}  # a name of a language, not an address that is loaded
    for path in FILES:
        assert set(re.findall(r"""https?://[^\s"'`)<]+""", path.read_text())) <= known, path.name


def test_the_policy_of_the_server_allows_the_page():
    page = (PAGE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|<style|\son\w+=", page)  # default-src 'self' forbids them
    assert not [
        path.name for path in SCRIPTS if re.search(r"""setAttribute\("style|\bstyle: ["'`]""", path.read_text())
    ]


def test_everything_the_page_names_is_there():
    page = (PAGE / "index.html").read_text()
    named = set(re.findall(r'(?:src|href)="([\w./-]+\.(?:js|css|svg))', page))
    for script in SCRIPTS:
        named |= {name.removeprefix("./") for name in re.findall(r'from "(\./[\w.]+)"', script.read_text())}
    files = {path.name for path in FILES}
    assert named <= files
    assert files == named | {"index.html"}, "a file that nothing loads"


def test_every_icon_is_drawn():
    drawn = set(re.findall(r'<symbol id="(\w+)"', (PAGE / "icons.svg").read_text()))
    asked = set(re.findall(r"icons\.svg#(\w+)", (PAGE / "index.html").read_text()))
    for script in SCRIPTS:
        asked |= set(re.findall(r'(?:\bicon|\bbutton)\("(\w+)"', script.read_text()))
    assert asked <= drawn


def test_ids_that_scripts_ask_for_are_in_the_page():
    page = (PAGE / "index.html").read_text()
    made = set(re.findall(r'\bid="([\w-]+)"', page))
    asked = {name for script in SCRIPTS for name in re.findall(r'\$\("([\w-]+)"\)', script.read_text())}
    assert asked <= made


def test_files_are_of_readable_length():
    assert {
        path.name: len(path.read_text().splitlines()) for path in FILES if len(path.read_text().splitlines()) > 450
    } == {}


def test_the_wheel_has_the_page():
    from fnmatch import fnmatch

    root = PAGE.parents[3]
    patterns = re.findall(r'"(server/page/[^"]+)"', (root / "pyproject.toml").read_text())
    for path in FILES:
        name = path.relative_to(root / "code/clamp3").as_posix()
        assert any(fnmatch(name, pattern.replace("**/", "")) for pattern in patterns)
