r"""Write one metadata JSON per song of OpenScore Lieder: title, composer, lyricist, lyrics, instruments, key.

    python code/recipes/lieder_metadata.py openscore_lieder metadata/
    python preprocessing/text/summarize.py metadata/ summaries.jsonl --dry_run

openscore_lieder is a copy of github.com/OpenScore/Lieder with its tables (composers.tsv, sets.tsv, scores.tsv) and
scores/**/lc*.mxl. metadata/ mirrors scores/. filepaths name the converted music, relative to the folder of the
conversion (merge.py makes them relative to the JSONL). Life dates come from the tables, the key from the notes (an
estimate), all else from the score. Exit code 1: some songs failed; run again, all are written anew.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import EXIT_OK, EXIT_SOME_FAILED, parser_for, run
from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.formats.tables import json_text

GENRES = ["Art song"]
NOT_A_NAME = frozenset({"", "unknown", "anonymous", "anon.", "anon"})


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("corpus", type=Path, help="OpenScore Lieder")
    parser.add_argument("output_dir", type=Path, help="folder to write to")
    parser.add_argument("--suffixes", nargs="+", default=[".abc"], help="of the converted music (default: .abc)")
    return parser


def life_dates(corpus: Path) -> dict[str, tuple[str, str]]:
    """Return the years of birth and death of composers, by the number of a score and by the folder of a composer."""

    def table(name: str) -> list[dict[str, str]]:
        try:
            with (corpus / name).open(encoding="utf-8", newline="") as stream:
                return list(csv.DictReader(stream, delimiter="\t"))
        except OSError as error:
            raise ConfigError(f"{corpus / name} cannot be read: {error.strerror}; is this OpenScore Lieder?") from None

    composers = {row["id"]: row for row in table("composers.tsv")}
    sets = {row["id"]: composers.get(row["composer_id"]) for row in table("sets.tsv")}
    known = {row["path"]: row for row in composers.values()}
    known |= {row["id"]: found for row in table("scores.tsv") if (found := sets.get(row["set_id"]))}
    return {name: (row["born"], row["died"]) for name, row in known.items()}


def metadata_of(data: bytes, dates: tuple[str, str]) -> dict[str, Any]:
    """Return the metadata of one score, fields without content left out.

    Parameters
    ----------
    data : bytes
        Compressed or plain MusicXML.
    dates : tuple of str
        The composer's years, empty where unknown.

    Raises
    ------
    FormatError
        If the score cannot be read.
    """
    from clamp3.formats import Kind
    from clamp3.formats.guards import is_zip, parse_xml, unpack_mxl
    from clamp3.formats.titles import title_of
    from recipes.mini.scores import find_key, read_musicxml

    xml = unpack_mxl(data) if is_zip(data) else data
    root = parse_xml(xml)
    key, mode = find_key(read_musicxml(xml))
    instruments = [" ".join((node.text or "").split("(")[0].split()) for node in root.iter("instrument-name")]
    found = {
        "title": title_of(data, Kind.MUSICXML),
        "composer": with_years(_creator(root, "composer"), *dates),
        "lyricist": _creator(root, "lyricist") or _creator(root, "poet"),
        "genres": GENRES,
        "lyrics": lyrics_of(root),
        "instruments": [name for name in dict.fromkeys(instruments) if name],
        "key": f"{key} {mode}",
    }
    return {name: value for name, value in found.items() if value}


def with_years(name: str, born: str, died: str) -> str:
    """Return a name with life dates: ``Franz Schubert (1797-1828)``; with one year, ``(born 1797)``."""
    if born and died:
        return f"{name} ({born}\N{EN DASH}{died})"
    return f"{name} ({'born' if born else 'died'} {born or died})" if born or died else name


def lyrics_of(root: Element) -> str:
    """Return the words under the part that has most of them, a line per verse."""
    best: dict[str, list[str]] = {}
    for part in root.iter("part"):
        verses: dict[str, list[str]] = {}
        for lyric in part.iter("lyric"):
            words = verses.setdefault(lyric.get("number", "1"), [])
            _add(words, lyric)
        if sum(map(len, verses.values())) > sum(map(len, best.values())):
            best = verses
    ordered = sorted(best, key=lambda number: (not number.isdigit(), int(number) if number.isdigit() else 0, number))
    return "\n".join(" ".join("".join(best[number]).split()) for number in ordered)


def _add(words: list[str], lyric: Element) -> None:
    # A syllable of a word that goes on has no space after it; an elision puts two syllables under one note.
    syllabic = "single"
    for node in lyric:
        if node.tag == "syllabic":
            syllabic = node.text or "single"
        elif node.tag == "text" and node.text:
            words.append(node.text + ("" if syllabic in ("begin", "middle") else " "))
            syllabic = "single"


def _creator(root: Element, kind: str) -> str:
    for node in root.iterfind("identification/creator"):
        name = " ".join((node.text or "").split())
        if node.get("type") == kind and name.casefold() not in NOT_A_NAME:
            return name
    return ""


def main(argv: list[str] | None = None) -> int:
    """Write the metadata, print what was found, return the exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.formats.guards import read_file
    from clamp3.jobs.atomic import write_text

    dates = life_dates(args.corpus)
    scores = args.corpus / "scores"
    counts: Counter[str] = Counter()
    failed = []
    for path in sorted(scores.rglob("lc*.mxl")):
        name = path.relative_to(scores)
        years = dates.get(path.stem.removeprefix("lc")) or dates.get(name.parts[0]) or ("", "")
        try:
            record = metadata_of(read_file(path), years)
        except (FormatError, OSError) as error:
            failed.append(f"{name}: {error}")
            continue
        record["filepaths"] = [name.with_suffix(suffix).as_posix() for suffix in args.suffixes]
        text = json_text({"id": path.stem, **record}, indent=1) + "\n"
        write_text(args.output_dir / name.with_suffix(".json"), text, durable=False)
        counts.update([*record, "life dates"] if any(years) else record.keys())
        counts["songs"] += 1
    if not counts["songs"] and not failed:
        raise DataError(f"{scores} holds no lc*.mxl.")
    print(", ".join(f"{field} {counts[field]}" for field in ("songs", *sorted(counts.keys() - {"songs"}))))
    for line in failed:
        print(f"  failed: {line}")
    return EXIT_SOME_FAILED if failed else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
