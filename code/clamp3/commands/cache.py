"""Look at what earlier runs left in the cache, and remove it.

    clamp3 cache info
    clamp3 cache clear
    clamp3 cache clear --older_than 30 --yes
    clamp3 cache clear --kind weights

The cache is the folder $CLAMP3_CACHE, else ~/.cache/clamp3. clear asks first, unless --yes says so, and removes what is
made again by itself: vectors, damaged files, digests, exports. Weights go only where --kind names them. What is not of
this program stays, and so do links and what they lead to. Downloads of Hugging Face are in its own cache (hf cache ls).
"""

from __future__ import annotations

import argparse
import sys

from clamp3.errors import EXIT_OK, ConfigError, printable
from clamp3.formats.tables import json_text

KINDS = ("vectors", "damaged", "digests", "exports", "weights")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    chosen = parser.add_subparsers(dest="action", required=True, metavar="COMMAND")
    sub = chosen.add_parser("info", help="what there is, of which kind and how much", description="Show what there is.")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub = chosen.add_parser("clear", help="remove it, or some of it", description="Remove it, or some of it.")
    sub.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS[:-1], help="default: all but weights")
    sub.add_argument("--older_than", type=float, metavar="DAYS", help="only what was stored before so many days")
    sub.add_argument("--yes", action="store_true", help="do not ask")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    from clamp3.jobs.cache import default_cache_dir
    from clamp3.jobs.cached import cached, clear

    folder, there = default_cache_dir(), cached()
    if args.action == "info":
        facts = {
            kind: {"files": len(kept.files), "bytes": kept.n_bytes}
            | ({"vectors": kept.vectors} if kind == "vectors" else {})
            for kind, kept in there.items()
        }
        print(json_text({"folder": str(folder), "kinds": facts}, indent=2) if args.json else _table(folder, there))
        return EXIT_OK
    if args.older_than is not None and not args.older_than >= 0:
        raise ConfigError("--older_than counts days: 0 or more.")
    there = {kind: there[kind] for kind in args.kind}
    print(_table(folder, there))
    age = "" if args.older_than is None else f", of what is older than {args.older_than:g} days"
    if not args.yes and not _agreed(f"Remove {', '.join(there)}{age}? [y/N] "):
        print("nothing was removed.")
        return EXIT_OK
    removed = clear(list(there), older_than_days=args.older_than)
    units = {"vectors": "vectors"}
    print("removed: " + ", ".join(f"{n} {units.get(kind, f'files of {kind}')}" for kind, n in removed.items()))
    return EXIT_OK


def _table(folder: object, there: dict) -> str:
    lines = [printable(folder)]
    for kind, kept in there.items():
        vectors = f", {kept.vectors} vectors" if kind == "vectors" else ""
        lines.append(f"  {kind:8} {kept.n_bytes / 2**20:10.1f} MiB in {len(kept.files)} files{vectors}")
    return "\n".join(lines)


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to ask: --yes removes without a question.")
    print(question, end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
