"""What the commands of ``retrieval/index.py`` do, each a function of its parsed flags and a way to open the model."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED, Clamp3Error, ConfigError, printable
from clamp3.formats.tables import json_text
from clamp3.index.folder import INDEX_NAME, IndexMeta, find_index
from clamp3.index.place import Uri, Where, where
from clamp3.index.selection import kinds_of
from clamp3.jobs.summary import SHOWN

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import PassagePlan
    from clamp3.index.indexing import Changes
    from clamp3.index.library import Library

Open = Callable[[argparse.Namespace], "Clamp3"]
MODEL_FLAGS = ("model", "text_model", "mert_model")
VARIABLE = "CLAMP3_INDEX"


def add(args: argparse.Namespace, open_model: Open) -> int:
    """Add folders, or embed what is new in them; return the exit code.

    Parameters
    ----------
    args : Namespace
        Flags of the command, as ``retrieval/index.py`` parses them.
    open_model : callable
        Opens the model that flags name.
    """
    from clamp3.index.indexing import bring_up_to_date
    from clamp3.index.library import Library

    for path in args.paths:
        if not path.exists():
            raise ConfigError(f"there is no folder {printable(path)}.")
    place = named(args)
    if place is None and len(args.paths) > 1:
        raise ConfigError("several folders need --index or --uri to say where their index is to be.")
    only: Path = args.paths[0]
    place = place or (only / INDEX_NAME if only.is_dir() else Path(INDEX_NAME))
    store = _store(args, place)
    there = find_index(place)
    if there is None:
        model = _opened(args, open_model, None)
        plan = _plan() if args.passages else None
        flags = {name: _absolute(getattr(args, name)) for name in MODEL_FLAGS}
        library = Library.create(place, model, opened=flags, store=store, passages=plan)
    else:
        library = Library.open(there)
        if args.passages and library.meta.passages is None:
            raise ConfigError("the index is without passages; update --reindex --passages builds it anew with them.")
        model = _opened(args, open_model, library.meta)
    with library, library.lock():
        return _report(bring_up_to_date(library, model, args.paths, retry=args.retry, n_workers=args.n_workers), args)


def update(args: argparse.Namespace, open_model: Open) -> int:
    """Embed what is new, forget what is gone; with --reindex build all anew beside the old; arguments as of `add`."""
    from clamp3.index.indexing import bring_up_to_date

    library = _library(args)
    if args.reindex:
        return _reindex(library, args, open_model)
    with library, library.lock():
        model = _opened(args, open_model, library.meta)
        changes = bring_up_to_date(
            library, model, args.paths or None, prune=True, retry=args.retry, n_workers=args.n_workers
        )
        return _report(changes, args)


def _reindex(library: Library, args: argparse.Namespace, open_model: Open) -> int:
    from clamp3.index.indexing import bring_up_to_date
    from clamp3.index.library import Library, meta_of

    with library, library.lock():
        old = library.folder
        model = _opened(args, open_model, old.meta if args.model is None else None)
        plan = _plan() if args.passages or old.meta.passages else None
        flags = {name: _absolute(getattr(args, name)) for name in MODEL_FLAGS}
        meta = meta_of(model, flags, _store(args, old.where) or old.meta.store, plan)
        successor = old.successor(meta)
        successor.write_meta(roots=old.meta.roots)
        with Library(successor) as rebuilt:
            changes = bring_up_to_date(rebuilt, model, prune=True, retry=args.retry, n_workers=args.n_workers)
        library.close()
        old.become(successor)
        return _report(changes, args)


def remove(args: argparse.Namespace, open_model: Open) -> int:
    """Forget files and folders; arguments as of `add`."""
    library = _library(args)
    with library, library.lock():
        print(f"{library.remove(args.paths)} pieces removed from the index; no file was touched.")
    return EXIT_OK


def search(args: argparse.Namespace, open_model: Open) -> int:
    """Print what is closest to a query; arguments as of `add`."""
    from clamp3.index.query import answer
    from clamp3.index.question import question_of
    from clamp3.index.render import show

    asked = args.query is not None or args.like or args.text or args.axis
    if (args.interactive and args.query is not None) or not (args.interactive or asked):
        raise ConfigError("give a query, or --interactive to be asked for queries.")
    how = {"where": args.where, "passages": args.passages, "diversity": args.diversity, "words": not args.no_words}
    if not args.interactive:
        question_of(args, args.query, **how)  # what is wrong with it is said before anything is opened
    with _library(args) as library:
        model = _opened(args, open_model, library.meta)
        code = EXIT_OK
        for query in _questions() if args.interactive else [args.query]:
            try:
                found = answer(library, model, question_of(args, query, **how))
            except Clamp3Error as error:
                if not args.interactive:
                    raise
                print(f"error: {error}", file=sys.stderr)
                continue
            facts = {"query": query, "model": model.identity, "n_references": found.n_references}
            code = show(found, form=args.format, strict=args.strict, **facts)
    return code


def playlist(args: argparse.Namespace, open_model: Open) -> int:
    """Print pieces to play one after the other; arguments as of `add`."""
    from clamp3.index.answer import Answer
    from clamp3.index.playlist import playlist
    from clamp3.index.question import named
    from clamp3.index.render import show

    seeds, end = [named(seed) for seed in args.seeds], named(args.to) if args.to else None
    with _library(args) as library:
        model = _opened(args, open_model, library.meta)
        hits = playlist(library, model, seeds, args.n, end=end, where=args.where, kinds=kinds_of(args.kind))
    return show(Answer(hits), form=args.format)


def _questions() -> Iterator[str]:
    """Yield the lines that are typed or piped in, until the end, an empty one or Ctrl-C."""
    typed = sys.stdin.isatty()
    if typed:
        print("A sentence or a file; an empty line ends.", file=sys.stderr)
        with contextlib.suppress(ImportError):  # not on Windows
            import readline  # noqa: F401 - arrows edit the line and bring earlier ones back
    while True:
        try:
            # input() edits lines only where it writes its prompt itself, which must not go into a pipe.
            line = input("? ") if typed and sys.stdout.isatty() else sys.stdin.readline()
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if not line.strip():
            return
        yield line.strip()


def info(args: argparse.Namespace, open_model: Open) -> int:
    """Print what the index holds; arguments as of `add`."""
    with _library(args) as library:
        facts = library.info()
    if args.json:
        print(json_text(facts, indent=2))
    else:
        for name, value in facts.items():
            text = ", ".join(f"{n} {what}" for what, n in value.items()) if isinstance(value, dict) else value
            print(f"{name.replace('_', ' '):18} {', '.join(text) if isinstance(text, list) else text}")
    return EXIT_OK


def export(args: argparse.Namespace, open_model: Open) -> int:
    """Write vectors and facts for other programs; arguments as of `add`."""
    from clamp3.index import upkeep

    with _library(args) as library:
        print(f"{upkeep.export(library, args.output_dir, args.where)} pieces written to {printable(args.output_dir)}.")
    return EXIT_OK


def verify(args: argparse.Namespace, open_model: Open) -> int:
    """Look for what is damaged or out of date; arguments as of `add`."""
    from clamp3.index import upkeep

    with _library(args) as library:
        check = upkeep.verify(library, contents=args.contents)
    print(f"{check.n_pieces} pieces, {len(check.problems)} problems.")
    for name, reason in check.problems:
        print(f"  {name}: {reason}")
    return EXIT_SOME_FAILED if check.problems else EXIT_OK


def duplicates(args: argparse.Namespace, open_model: Open) -> int:
    """Report pieces that are the same; nothing is deleted; arguments as of `add`."""
    from clamp3.index.duplicates import duplicates

    with _library(args) as library:
        groups = duplicates(library, least=args.least, where=args.where)
        n_pieces = library.pieces.count()
    if args.json:
        print(json_text({"n_pieces": n_pieces, "least": args.least, "groups": list(map(asdict, groups))}, indent=2))
        return EXIT_OK
    for group in groups:
        print("equal contents" if group.equal else f"nearly equal, cosines from {min(group.cosines):.4f}")
        for piece in group.pieces:
            print(printable(f"  {piece['name']}", sys.stdout.encoding))
    n_equal = sum(group.equal for group in groups)
    print(f"{n_equal} groups of equal contents, {len(groups) - n_equal} of nearly equal vectors, of {n_pieces} pieces.")
    return EXIT_OK


def named(args: argparse.Namespace) -> Where | None:
    """Return the index that ``--uri``, ``--index`` or the environment name."""
    if args.uri and args.index:
        raise ConfigError("give --uri or --index, not both.")
    if args.index and "://" in args.index:
        raise ConfigError("--index takes a folder; an address is given by --uri.")
    if args.uri and "://" not in args.uri:
        raise ConfigError("--uri takes an address such as s3://bucket/library; a folder is given by --index.")
    text = args.uri or args.index or os.environ.get(VARIABLE)
    return where(text) if text else None


def _library(args: argparse.Namespace) -> Library:
    from clamp3.index.library import Library

    return Library.open(index_at(named(args) or Path()))


def index_at(place: Where) -> Where:
    """Return the index that is at a place, or raise a `ConfigError`."""
    there = find_index(place)
    if there is None:
        shown = place if isinstance(place, Uri) else printable(place.resolve())
        raise ConfigError(
            f"there is no index at {shown}; name it with --index or --uri, or make one with clamp3 index add."
        )
    return there


def _opened(args: argparse.Namespace, open_model: Open, meta: IndexMeta | None) -> Clamp3:
    """Open the model that the flags name, else that of the index, else mini."""
    if args.model is None and meta is not None:
        for name in MODEL_FLAGS:
            if getattr(args, name) is None:
                setattr(args, name, meta.model.get(name))
    if args.model is None:
        args.model = "mini"
    return open_model(args)


def _absolute(text: str | None) -> str | None:
    """Return the flag as it holds from any folder."""
    return str(Path(text).resolve()) if text and Path(text).exists() else text


def _store(args: argparse.Namespace, place: Where) -> str | None:
    if args.store and isinstance(place, Uri):
        raise ConfigError("--store is for folders; an address says itself what keeps the rows.")
    chosen: str | None = args.store
    return chosen


def _plan() -> PassagePlan:
    from clamp3.embedding.passages import PassagePlan

    return PassagePlan()


def _report(changes: Changes, args: argparse.Namespace) -> int:
    if args.json:
        facts = asdict(changes)
        facts["failed"] = [{"name": name, "reason": reason} for name, reason in changes.failed]
        print(json_text({**facts, "seconds": round(changes.seconds, 3)}))
    else:
        for line in _lines(changes):
            print(printable(line, sys.stdout.encoding))
    return EXIT_SOME_FAILED if changes.failed else EXIT_OK


def _lines(changes: Changes) -> Sequence[str]:
    counts = (
        f"{changes.embedded} embedded, {changes.reused} known by content, {changes.unchanged} unchanged, "
        f"{changes.removed} removed, {len(changes.failed)} failed, {len(changes.ignored)} of other types ignored, "
        f"in {changes.seconds:.1f} s"
    )
    failed = [f"  failed: {name}: {reason}" for name, reason in changes.failed[:SHOWN]]
    more = len(changes.failed) - len(failed)
    return [counts, *failed, *([f"  ... and {more} more; --json lists all"] if more else [])]
