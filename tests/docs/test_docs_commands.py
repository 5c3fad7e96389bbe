"""Every command of the documentation is one that its parser takes; those of quick start and how-to pages also run."""

import os
import re
import shutil

import pytest
from doc_commands import (
    LAUNCHERS,
    NOT_RUN,
    ROOT,
    Refused,
    blocks,
    check,
    inline,
    of_ours,
    run_page,
    simple_commands,
)

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = ("", "bash", "console", "sh")  # "" is an indented block too
START = ROOT / "docs/README.md"
HOW_TO = sorted((ROOT / "docs/how_to").glob("*.md"))
FILE = re.compile(r"[\w./ -]+\.(?:abc|csv|html|jsonl?|krn|mid|mxl|npy|png|xml)\b")
EXTRAS = re.compile(r"(?:clamp3|\.)\[([\w,]+)\]")


def commands_of(page):
    """Yield every command of a page as it is typed, and whether it is more than the name of one in a sentence."""
    for block in blocks(page):
        if block.language in SHELL:
            yield from ((words, True) for words in simple_commands(block.text))
    for text in inline(page):
        if text.split(" ")[0] in (*LAUNCHERS, "clamp3", "make", "pip"):
            yield from ((words, False) for words in simple_commands(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_parsers_take_every_command(page, monkeypatch):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    refused = []
    for words, is_whole in commands_of(page):
        if words[0] == "make" and len(words) > 1:
            assert re.search(rf"(?m)^{re.escape(words[1])}:", makefile), words
        for extras in EXTRAS.findall(" ".join(words)):
            assert all(re.search(rf"(?m)^{extra} = \[", project) for extra in extras.split(",")), words
        if ours := of_ours(words):
            try:
                check(*ours, monkeypatch)
            except (AssertionError, Refused) as error:
                if not is_whole and "arguments are required" in str(error):
                    continue
                refused.append((" ".join(words), str(error)))
    assert refused == []


def test_there_are_commands():
    assert sum(of_ours(words) is not None for page in PAGES for words, _ in commands_of(page)) > 150


@pytest.mark.parametrize("arguments", [["search", "a waltz", "--idnex", "music/"], ["serach", "a waltz"], ["playlist"]])
def test_a_command_that_its_parser_does_not_know_is_refused(arguments, monkeypatch):
    with pytest.raises(Refused):
        check("retrieval/index.py", arguments, monkeypatch)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Return a folder in which the quick start was followed, and what its commands printed."""
    folder = tmp_path_factory.mktemp("quick_start")
    before = os.getcwd()
    os.chdir(folder)
    try:
        return folder, run_page(START)
    finally:
        os.chdir(before)


def check_shown(page, done):
    """What a page shows of a command's output names the files that are in it."""
    shown = {id(block): "" for block, _ in done}
    printed = dict(zip(shown, (text for _, text in done), strict=True))
    last = None
    by_line = {block.line: id(block) for block, _ in done}
    for block in blocks(page):
        last = by_line.get(block.line, None if block.text.startswith(NOT_RUN) else last)
        if block.language == "text" and last is not None:
            shown[last] += block.text
    for key, text in shown.items():
        for line in text.splitlines():
            for name in FILE.findall(re.sub(r"^.*?  +(?=\S+/)", "", line)):
                assert name.strip() in printed[key], f"{page.name} shows {name}, the command does not"


def test_the_quick_start_is_as_it_says(started):
    check_shown(START, started[1])
    assert sum(block.language == "bash" for block, _ in started[1]) >= 4


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_how_to_pages_are_as_they_say(page, started, tmp_path, monkeypatch):
    shutil.copytree(started[0] / "music", tmp_path / "music")  # with the index
    monkeypatch.chdir(tmp_path)
    done = run_page(page)
    assert len(done) >= 3
    check_shown(page, done)


def test_blocks_that_are_not_run_say_why():
    for page in (START, *HOW_TO):
        for block in blocks(page):
            assert block.language in ("bash", "python", "text") or block.file, f"{page.name}, line {block.line}"
            assert block.text.startswith(NOT_RUN) == ("Not run" in block.text), f"{page.name}, line {block.line}"
