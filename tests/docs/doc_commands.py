"""The commands of the documentation: found in its code blocks, checked by the parsers they meet, or run."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = "# Not run by the tests: "  # the first line of such a block, with the reason
LAUNCHERS = ("python", "python3", "torchrun", "accelerate")
OPERATORS = re.compile(r"[&|;<>]+")


@dataclass(frozen=True)
class Block:
    """One code block: the word after its fence ("" if it is indented), its text, and its first line in the page."""

    language: str
    text: str
    line: int

    @property
    def is_run(self) -> bool:
        return self.language in ("bash", "python") and not self.text.startswith(NOT_RUN)

    @property
    def file(self) -> str:
        """The name of the file that the reader is asked to write, "" if it is none."""
        found = re.search(r'title="([^"]+)"', self.language)
        return found[1] if found else ""


def blocks(page: Path) -> list[Block]:
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    return [Block(token.info.strip(), token.content, token.map[0] + 1) for token in tokens
            if token.type in ("fence", "code_block")]  # fmt: skip


def inline(page: Path) -> list[str]:
    """Return what stands between backticks within sentences and tables."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return [child.content for token in tokens for child in token.children or () if child.type == "code_inline"]


def simple_commands(text: str) -> list[list[str]]:
    """Return the words of each command of a shell snippet, without comments, redirections and loops."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.strip(), posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # an apostrophe: a sentence, or what a program printed
            continue
        command: list[str] = []
        skip = False
        for word in [*words, ";"]:
            if not OPERATORS.fullmatch(word):
                if not skip:
                    command.append(word)
                skip = False
            elif "<" in word or ">" in word:
                skip = True  # the name of a file follows
            else:
                while command and (command[0] in ("do", "then", "$") or re.match(r"[A-Z_]+=", command[0])):
                    del command[0]
                found += [command] if command else []
                command = []
    return found


def of_ours(words: list[str]) -> tuple[str, list[str]] | None:
    """Return the script, or ``clamp3``, that a command starts, with its arguments; None if it starts neither."""
    if words[0] == "clamp3" and words[1:2] not in ([], ["="]):  # neither the bare name nor Python
        return "clamp3", words[1:]
    if words[0] in LAUNCHERS and ["-m", "clamp3"] in (words[i : i + 2] for i in range(len(words))):
        return "clamp3", words[words.index("-m") + 2 :]
    script = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
    if words[0] not in LAUNCHERS or script is None or words[script].startswith("-"):
        return None
    return words[script], words[script + 1 :]


def main_of(name: str):
    """Return a function of arguments: what ``clamp3``, or a script of this repository, does with them."""
    if name == "clamp3":
        return importlib.import_module("clamp3.commands").main
    path = next((folder / name for folder in (ROOT, ROOT / "code") if (folder / name).is_file()), None)
    assert path, f"no such script: {name}"
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module.main


class Parsed(BaseException):
    """Raised in place of the work: the parser had nothing to say against the command."""


class Refused(BaseException):
    """Raised in place of the usage: the parser refused the command."""


def check(name: str, arguments: list[str], monkeypatch) -> None:
    """Let the parser of a command read its arguments, whether its files exist or not; fail if it refuses them."""
    original = argparse.ArgumentParser.parse_args

    def without_files(parser: argparse.ArgumentParser) -> None:
        for action in parser._actions:
            if action.type not in (None, int, float):
                action.type = None
            if isinstance(action, argparse._SubParsersAction):
                for child in set(action.choices.values()):
                    without_files(child)

    def parse_args(parser, args=None, namespace=None):
        without_files(parser)
        original(parser, args, namespace)
        raise Parsed

    def error(parser, message):
        raise Refused(message)

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        for parser in (argparse.ArgumentParser, *argparse.ArgumentParser.__subclasses__()):
            patched.setattr(parser, "error", error)
        try:
            main_of(name)(arguments)
        except Parsed:
            return
        except SystemExit as stop:
            if not stop.code:  # help, as for the name of a group of commands
                return
            raise
    raise AssertionError(f"{name} did not read its arguments")


def run_page(page: Path) -> list[tuple[Block, str]]:
    """Do what a page says, in the current folder; return every block that ran with what it printed.

    Raises
    ------
    AssertionError
        If a command ends with another exit code than 0, or is none of ours.
    """
    done, names = [], {"__name__": page.stem}
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        if not block.is_run:
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as errors:
            if block.language == "python":
                exec(compile(block.text, f"{page.name}:{block.line}", "exec"), names)
            for words in simple_commands(block.text) if block.language == "bash" else ():
                name, arguments = of_ours(words) or ("", [])
                assert name, f"{page.name}, line {block.line}: {words[0]} is no command of ours"
                code = main_of(name)(arguments)  # in this process: torch and the model are loaded once
                assert code == 0, f"{page.name}, line {block.line}: {words}: {code}, {errors.getvalue()}"
        done.append((block, out.getvalue()))
    return done
