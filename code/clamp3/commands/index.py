"""Index folders of music once, then search them at once: text, scores, MIDI and recordings of any mixture.

    python retrieval/index.py add ~/music                      # makes ~/music/.clamp3_index; again: only what is new
    python retrieval/index.py search "a sad waltz" --index ~/music
    python retrieval/index.py search hummed.m4a --index ~/music --where 'modality = "score" and "bach" in composer'
    python retrieval/index.py search --like a.mid --unlike b.mp3 --text slower --axis sad happy --diversity .3
    python retrieval/index.py search take.mp3@40-55            # more like this, from second 40 to 55
    python retrieval/index.py playlist calm.mp3 --to wild.mp3 --n 12 --format m3u8 > path.m3u8
    python retrieval/index.py update --index ~/music           # new and changed files in, those that are gone out
    python retrieval/index.py add ~/scores ~/cds --index ~/all # several folders, one index elsewhere
    python retrieval/index.py add ~/music --uri s3://bucket/library          # object storage that many computers share
    python retrieval/index.py search "a sad waltz" --uri s3://bucket/library # or postgresql://user@host/database

--index is the folder of the index or the one that has it in it; without it $CLAMP3_INDEX counts, else the current
folder. An index knows its model; vectors of two models are never mixed. Interrupted or killed, the same command goes
on. Files are never changed or removed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clamp3.cli import add_model_flags, add_result_flags, open_model
from clamp3.index import commands
from clamp3.index.place import add_index_flags
from clamp3.index.selection import add_question_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    chosen = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, what: str) -> argparse.ArgumentParser:
        sub = chosen.add_parser(name, help=what, description=what)
        sub.set_defaults(function=getattr(commands, name))
        return add_index_flags(sub)

    for name, what in {"add": "add folders or files", "update": "bring the index up to date"}.items():
        sub = add_model_flags(command(name, what), None)
        sub.add_argument("paths", type=Path, nargs="+" if name == "add" else "*", help="folders or files")
        sub.add_argument("--passages", action="store_true", help="keep passages of pieces too; chosen at the first add")
        sub.add_argument("--retry", action="store_true", help="also try again what failed before")
        sub.add_argument(
            "--store", choices=("lance", "sqlite"), help="what keeps the rows (default: lance if installed)"
        )
        sub.add_argument("--n_workers", type=int, help="processes for conversions (default: one per usable core)")
        sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub.add_argument("--reindex", action="store_true", help="build all anew, for another --model, then replace the old")
    sub = command("remove", "forget folders or files; no file is touched")
    sub.add_argument("paths", type=Path, nargs="+", help="folders or files")
    sub = add_model_flags(command("search", "search the index"), None)
    sub.add_argument("query", nargs="?", help="a sentence, or the path of a file of any kind")
    sub.add_argument("--interactive", action="store_true", help="ask for queries; the model stays loaded")
    sub.add_argument("--no_words", action="store_true", help="vectors alone, whatever titles and names say")
    sub.add_argument("--passages", action="store_true", help="rank passages of pieces, and show where they are")
    sub.add_argument("--where", help="""a filter, such as 'modality = "midi" and duration < 180'""")
    many = "from 0 to below 1: how much likeness to better results counts against a result (default: 0)"
    sub.add_argument("--diversity", type=float, default=0.0, metavar="SHARE", help=many)
    add_result_flags(add_question_flags(sub))
    sub = add_model_flags(command("playlist", "pieces like some seeds, or a path from one to another"), None)
    sub.add_argument("seeds", nargs="+", metavar="SEED", help="files or texts; take.mp3@40-55 is a stretch of one")
    sub.add_argument("--to", metavar="END", help="end of a path that begins at the one seed")
    sub.add_argument("--n", type=int, default=20, help="how many pieces (default: %(default)s)")
    sub.add_argument("--where", help="a filter")
    sub.add_argument("--kind", default="", help="only these, as of search")
    sub.add_argument("--format", choices=("table", "tsv", "json", "m3u8"), help="m3u8 is what players read")
    command("info", "what the index holds").add_argument("--json", action="store_true", help="print one JSON object")
    sub = command("export", "write vectors.npy and pieces.jsonl")
    sub.add_argument("output_dir", type=Path, help="folder to write to")
    sub.add_argument("--where", help="a filter")
    sub = command("verify", "look for what is damaged or out of date")
    sub.add_argument("--contents", action="store_true", help="also read every file again")
    sub = command("duplicates", "report pieces that are the same; nothing is deleted")
    least = "cosine from which on vectors are nearly equal (default: %(default)s)"
    sub.add_argument("--least", type=float, default=0.995, help=least)
    sub.add_argument("--where", help="a filter")
    sub.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Carry it out; return the exit code."""
    code: int = args.function(args, open_model)
    return code
