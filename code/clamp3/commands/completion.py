"""Print a script that makes the shell complete commands, flags and their values.

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
    """Print the script; return the exit code."""
    from clamp3.commands import build_parser

    try:
        import shtab
    except ImportError:
        raise ConfigError("completion needs shtab: pip install shtab.") from None
    print(shtab.complete(build_parser(), args.shell))
    return EXIT_OK
