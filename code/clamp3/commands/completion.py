"""Print a script that makes the shell complete commands, flags, their values and files.

    clamp3 completion bash > ~/.local/share/bash-completion/completions/clamp3
    clamp3 completion zsh > ~/.zfunc/_clamp3        # with fpath+=~/.zfunc before compinit in ~/.zshrc
    clamp3 completion fish > ~/.config/fish/completions/clamp3.fish

It counts from the next shell on. Needs shtab once, to write the script: pip install 'clamp3[completion]'.
"""

from __future__ import annotations

import argparse

from clamp3.errors import EXIT_OK, ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="whose script")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.commands import build_parser

    try:
        import shtab
    except ImportError:
        raise ConfigError("completion needs shtab: pip install 'clamp3[completion]'.") from None
    parser = build_parser()
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, args.shell))
    return EXIT_OK


def _complete_files(parser: argparse.ArgumentParser, file: object) -> None:
    """Let values that may be paths be completed as such: all that are neither numbers nor one of some words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                _complete_files(sub, file)
        elif action.nargs != 0 and not action.choices and action.type not in (int, float):
            action.complete = file  # type: ignore[attr-defined]
