"""Find music by words, scores, MIDI or recordings: one space of vectors for all of them.

    clamp3 search "a lively jig for fiddle" my_scores/
    clamp3 index add ~/music
    clamp3 index search "a sad waltz" --index ~/music
    clamp3 serve --index ~/music
    clamp3 doctor

Each command explains itself: clamp3 search --help. The small model "mini" is in the package; --model saas is the
published one.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Protocol, cast

from clamp3 import __version__
from clamp3.cli import Parser, parser_for, run


@dataclass(frozen=True)
class Command:
    """One line of help, and the script of the repository that does the same, if there is one."""

    help: str
    script: str = ""


class Module(Protocol):
    """What the module of a command has, beside a docstring with the explanation and examples of the script."""

    def add_arguments(self, parser: argparse.ArgumentParser, **options: Any) -> None:
        """Add the flags.

        Parameters
        ----------
        parser : ArgumentParser
        **options
            What a script gives besides: folders and settings that are edited in its file.
        """

    def main(self, args: argparse.Namespace) -> int:
        """Carry it out; return the exit code."""


# The module of a name is the one below this package: "train symbolic" is clamp3.commands.train.symbolic.
COMMANDS = {
    "search": Command("find what in folders is closest to a sentence or a file", "retrieval/clamp3_search.py"),
    "embed": Command("encode a folder into vectors", "code/extract_clamp3.py"),
    "index": Command("index folders once, then search them at once", "retrieval/index.py"),
    "serve": Command("serve an index: a page for people, an interface for programs", "retrieval/serve.py"),
    "map": Command("draw a map of music and texts", "retrieval/map.py"),
    "groups": Command("compare groups of pieces, and find words that tell them apart", "retrieval/groups.py"),
    "recommend": Command("recommend music from what is liked, or from a log", "retrieval/recommend.py"),
    "score": Command("score how alike two folders are", "retrieval/clamp3_score.py"),
    "nearest": Command("vectors of a folder that are closest to one vector", "retrieval/semantic_search.py"),
    "classify zero_shot": Command("by sentences about each class, without training", "classification/zero_shot_cls.py"),
    "classify train": Command("train a probe on labelled music", "classification/train_cls.py"),
    "classify predict": Command("with a trained probe", "classification/inference_cls.py"),
    "classify benchmark": Command("a published benchmark of classification", "classification/benchmark.py"),
    "evaluate mrr": Command("how well one folder finds its partners in another", "retrieval/eval_mrr.py"),
    "evaluate frechet": Command("the Fréchet distance of two folders", "retrieval/frechet.py"),
    "evaluate generation": Command("prompts, realism, variety, copies", "retrieval/evaluate_generation.py"),
    "evaluate benchmark": Command("a published benchmark of retrieval", "retrieval/benchmark.py"),
    "convert xml2abc": Command("scores into standard ABC", "preprocessing/abc/batch_xml2abc.py"),
    "convert interleave": Command("ABC into interleaved ABC", "preprocessing/abc/batch_interleaved_abc.py"),
    "convert abc2xml": Command("ABC into MusicXML", "preprocessing/abc/batch_abc2xml.py"),
    "convert midi2mtf": Command("MIDI into MTF", "preprocessing/midi/batch_midi2mtf.py"),
    "convert mtf2midi": Command("MTF into MIDI", "preprocessing/midi/batch_mtf2midi.py"),
    "extract mert": Command("MERT's features of recordings", "preprocessing/audio/extract_mert.py"),
    "extract mel": Command("log-mel frames of recordings", "preprocessing/audio/extract_mel.py"),
    "extract clamp2": Command("CLaMP 2's vectors", "code/extract_clamp2.py"),
    "extract m3": Command("M3's vectors", "code/extract_m3.py"),
    "caption": Command("describe images in words, to search music with", "preprocessing/text/caption_images.py"),
    "text summarize": Command("a short text about each piece, from its metadata", "preprocessing/text/summarize.py"),
    "text records": Command("M4-RAG records from search results", "preprocessing/text/generate_records.py"),
    "text merge": Command("one JSONL from single JSON files", "preprocessing/text/merge.py"),
    "text check": Command("what is wrong with texts, and statistics", "preprocessing/text/check.py"),
    "text leaks": Command("which pieces of a benchmark training has seen", "preprocessing/text/leaks.py"),
    "text benchmark": Command("a benchmark of your own like WikiMT-X", "preprocessing/text/make_benchmark.py"),
    "text rewrite": Command("captions in other words", "preprocessing/text/rewrite_captions.py"),
    "train check": Command("look at training data before a run starts", "code/check_data.py"),
    "train symbolic": Command("CLaMP 3: text with scores and MIDI", "code/train_clamp3_symbolic.py"),
    "train audio": Command("CLaMP 3: text with recordings", "code/train_clamp3_audio.py"),
    "train clamp2": Command("CLaMP 2", "code/train_clamp2.py"),
    "train m3": Command("M3, the encoder of scores and MIDI", "code/train_m3.py"),
    "train htcl": Command("HTCL: recordings, and what listeners like", "code/train_htcl.py"),
    "train preference": Command("fine-tune towards what listeners like", "code/train_preference.py"),
    "train pairs": Command("pairs of songs from a listening log", "preprocessing/preferences.py"),
    "export": Command("write towers as ONNX files or slim safetensors, for use elsewhere"),
    "doctor": Command("look at what this computer has, and say what to do", "code/doctor.py"),
    "cache": Command("look at what earlier runs left, and remove it"),
    "completion": Command("print what makes the shell complete this command"),
}
GROUPS = {
    "classify": "classify music",
    "evaluate": "measure retrieval and generation",
    "convert": "convert scores and MIDI",
    "extract": "features of recordings, and vectors of other models",
    "text": "write texts about music by language models, and check them",
    "train": "train models, and prepare their data",
}
_SCRIPTS = {PurePosixPath(command.script): name for name, command in COMMANDS.items() if command.script}
_STARTED = re.compile(
    r"(?P<launcher>(?:torchrun|accelerate launch)[^\n]*? )?(?:python3?\s+)?"
    rf"(?<![\w/])(?P<script>(?:\w+/)*(?:{'|'.join(sorted({path.stem for path in _SCRIPTS}))})\.py)\b"
)


def as_typed(text: str) -> str:
    """Return a text with the names of scripts replaced by what is typed for the same command.

    Examples
    --------
    >>> as_typed("python retrieval/index.py add ~/music")
    'clamp3 index add ~/music'
    >>> as_typed("torchrun --nproc_per_node 4 code/extract_clamp3.py in/ out/")
    'torchrun --nproc_per_node 4 -m clamp3 embed in/ out/'
    """

    def typed(match: re.Match[str]) -> str:
        given = PurePosixPath(match["script"]).parts
        name = next((name for path, name in _SCRIPTS.items() if path.parts[-len(given) :] == given), None)
        if name is None:
            return match[0]
        return f"{match['launcher']}-m clamp3 {name}" if match["launcher"] else f"clamp3 {name}"

    return _STARTED.sub(typed, text)


class _CommandParser(Parser):
    """A parser whose help says ``clamp3 index`` where the explanation of the script says ``retrieval/index.py``."""

    def format_help(self) -> str:
        return as_typed(super().format_help())


def module_of(name: str) -> Module:
    """Import the module of a command."""
    return cast(Module, importlib.import_module(f"{__name__}.{name.replace(' ', '.')}"))


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of ``clamp3``, in which only the command that is asked for has its flags.

    Parameters
    ----------
    words : sequence of str, optional
        What is on the command line; None adds the flags of every command.
    """
    asked = set(COMMANDS) if words is None else {_name_in(words)}
    parser = _CommandParser(prog="clamp3", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"clamp3 {__version__}")
    groups = {"": parser.add_subparsers(title="commands", metavar="COMMAND", required=True)}
    for name, command in COMMANDS.items():
        group, _, last = name.rpartition(" ")
        if group not in groups:
            above = groups[""].add_parser(group, help=GROUPS[group], description=GROUPS[group])
            groups[group] = above.add_subparsers(title="commands", metavar="COMMAND", required=True)
        sub = groups[group].add_parser(last, help=command.help, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in asked:
            module = module_of(name)
            sub.description = module.__doc__
            module.add_arguments(sub)
    return parser


def _name_in(words: Sequence[str]) -> str:
    """Return the name of the command that a command line asks for; empty if it names none."""
    return next((name for n in (2, 1) if (name := " ".join(words[:n])) in COMMANDS), "")


def _asked_for(words: list[str]) -> list[str]:
    """Return a command line; without a command, and after the word help, one that asks for help."""
    if words[:1] == ["help"]:
        return [*words[1:], "--help"]
    return [*words, "--help"] if " ".join(words) in {"", *GROUPS} else words


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line; return the exit code."""
    words = _asked_for(sys.argv[1:] if argv is None else argv)
    args = build_parser(words).parse_args(words)
    return module_of(_name_in(words)).main(args)


def entry(argv: list[str] | None = None) -> int:
    """Run ``clamp3``; return the exit code."""
    return run(partial(main, argv))


def as_script(
    name: str, *, doc: str | None = None, defaults: Mapping[str, Any] | None = None, **options: Any
) -> tuple[Callable[[], argparse.ArgumentParser], Callable[..., int]]:
    """Return ``build_parser`` and ``main`` of the script that is the same as a command.

    Parameters
    ----------
    name : str
        Of the command, such as ``train symbolic``.
    doc : str, optional
        What ``--help`` shows, if not the explanation of the command.
    defaults : mapping, optional
        Defaults of flags that differ from the command's.
    **options
        What ``add_arguments`` of the command takes besides the parser.
    """

    def build_parser() -> argparse.ArgumentParser:
        module = module_of(name)
        parser = parser_for(doc or module.__doc__)
        module.add_arguments(parser, **options)
        parser.set_defaults(**(defaults or {}))
        return parser

    def main(argv: list[str] | None = None) -> int:
        return module_of(name).main(build_parser().parse_args(argv))

    return build_parser, main
