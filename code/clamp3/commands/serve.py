"""Serve an index of music: a page for people and an interface for programs, on this computer.

    python retrieval/index.py add ~/music
    python retrieval/serve.py --index ~/music                  # then open http://127.0.0.1:8321
    python retrieval/serve.py --uri s3://bucket/library        # an index that many servers share
    curl -s http://127.0.0.1:8321/search -H 'content-type: application/json' -d '{"parts": [{"text": "a sad waltz"}]}'

Nothing is sent anywhere else, and nobody but this computer is answered unless --host says so; then give a --token.
docs/server.md has all addresses. Ctrl-C or SIGTERM ends it; what is being answered is answered first.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from clamp3.cli import add_model_flags
from clamp3.index.place import add_index_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_model_flags(parser, None)
    add_index_flags(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to answer at (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8321, help="port; 0 takes a free one (default: %(default)s)")
    shown = "what clients have to show as Authorization: Bearer TOKEN (default: $CLAMP3_TOKEN, else nothing)"
    parser.add_argument("--token", default=os.environ.get("CLAMP3_TOKEN", ""), help=shown)
    names = "a name by which clients call this server, as behind a proxy (repeatable)"
    parser.add_argument("--allowed_host", action="append", default=[], metavar="NAME", help=names)
    parser.add_argument("--max_upload_mb", type=_positive, default=32, help="size of an upload (default: %(default)s)")
    parser.add_argument("--batch", type=_positive, default=32, help="texts encoded together, at most (default: 32)")
    blip = "folder or hub name of BLIP, which describes pictures that are sent (default: the usual one, if it is here)"
    parser.add_argument("--caption_model", default="", help=blip)
    parser.add_argument("--json", action="store_true", help="log one JSON object per request")


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; those go from 0 to 65535")
    return int(text)


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.index.commands import named
    from clamp3.server.run import serve

    return serve(args, named(args) or Path())
