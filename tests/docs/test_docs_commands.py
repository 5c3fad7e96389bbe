"""Every command of the documentation is one that its parser takes; those of quick start and how-to pages also run."""

import re

import pytest
from doc_commands import LAUNCHERS, ROOT, Refused, blocks, check, inline, of_ours, simple_commands

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = ("", "bash", "console", "sh")  # "" is an indented block too
EXTRAS = re.compile(r"(?:clamp3|\.)\[([\w,]+)\]")


def commands_of(page):
    """Yield every command of a page as it is typed."""
    for block in blocks(page):
        if block.language in SHELL:
            yield from simple_commands(block.text)
    for text in inline(page):
        if text.split(" ")[0] in (*LAUNCHERS, "clamp3", "make", "pip"):
            yield from simple_commands(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_parsers_take_every_command(page, monkeypatch):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    refused = []
    for words in commands_of(page):
        if words[0] == "make" and len(words) > 1:
            assert re.search(rf"(?m)^{re.escape(words[1])}:", makefile), words
        for extras in EXTRAS.findall(" ".join(words)):
            assert all(re.search(rf"(?m)^{extra} = \[", project) for extra in extras.split(",")), words
        if ours := of_ours(words):
            try:
                check(*ours, monkeypatch)
            except (AssertionError, Refused) as error:
                refused.append((" ".join(words), str(error)))
    assert refused == []


def test_there_are_commands():
    assert sum(of_ours(words) is not None for page in PAGES for words in commands_of(page)) > 150


@pytest.mark.parametrize("arguments", [["search", "a waltz", "--idnex", "music/"], ["serach", "a waltz"], ["playlist"]])
def test_a_command_that_its_parser_does_not_know_is_refused(arguments, monkeypatch):
    with pytest.raises(Refused):
        check("retrieval/index.py", arguments, monkeypatch)
