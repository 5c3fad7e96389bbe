"""Pitches and lengths of tunes from ABC books, before and after interleaving, as abcmidi's abc2midi plays them.

``python benchmarks/abc_books.py FOLDER [--n_tunes 1500] [--show 20]`` takes every ``.abc`` file below the folders
(music21's corpus holds some fifteen thousand tunes by hand), draws tunes, plays each one and what `interleave` makes
of it, and prints how many sound alike. abc2midi is a tool of this check only (``apt-get install abcmidi``).
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from clamp3.errors import FormatError
from clamp3.formats.abc.interleave import interleave
from clamp3.formats.abc.to_musicxml import separate
from clamp3.formats.guards import decode_lenient

Notes = list[tuple[int, int, int]]  # start, pitch and length, in ticks of a 480th of a quarter note


def tunes_of(text: str) -> list[str]:
    """Return the tunes of a book, each with the fields that stand before the first."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    head, *tunes = re.split(r"^(?=X:)", text, flags=re.MULTILINE)
    fields = "".join(line + "\n" for line in head.split("\n") if re.match(r"[A-Za-z]:|%%", line))
    return [fields + tune for tune in tunes]


def played(abc: str, folder: Path) -> Notes | None:
    """Return what abc2midi plays of a tune, None if it plays nothing."""
    source, target = folder / "tune.abc", folder / "tune.mid"
    # abc2midi plays grace notes and rolls in a time that depends on L:, lets hornpipes swing by their R: field, repeats
    # parts in the order of a P: field, and takes the
    # invisible bar line for a chord; I: fields of old are words.
    abc = "\n".join(
        line if re.match(r"[A-Za-z]:|%", line) else re.sub("~|!roll!", "", line).replace("[|]", "|")
        for line in abc.split("\n")
    )
    source.write_text(re.sub(r"^[RPI]:.*\n", "", abc, flags=re.MULTILINE), encoding="utf-8")
    target.unlink(missing_ok=True)
    command = ["abc2midi", str(source), "-o", str(target), "-quiet", "-NGUI", "-NGRA"]
    subprocess.run(command, capture_output=True, timeout=60, check=False)
    return notes_of(target.read_bytes()) if target.exists() else None


def notes_of(midi: bytes) -> Notes | None:
    """Return the notes of a MIDI file, from the first one on."""
    import io

    import mido

    found = []
    for track in mido.MidiFile(file=io.BytesIO(midi)).tracks:
        tick, open_at = 0, defaultdict(list)
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity:
                open_at[message.note].append(tick)
            elif message.type in ("note_on", "note_off") and open_at.get(message.note):
                start = open_at[message.note].pop(0)
                found.append((start, message.note, tick - start))
    first = min((start for start, *_ in found), default=0)
    return sorted((start - first, pitch, length) for start, pitch, length in found) or None


def compare(tune: str, folder: Path) -> str:
    """Return "same", or in which way the interleaved tune differs in pitches or lengths."""
    before = played("X:1\n" + re.sub(r"^X:.*\n", "", tune, flags=re.MULTILINE), folder)
    if before is None:
        return "abc2midi plays nothing"
    try:
        woven = interleave(tune).text
        if interleave(woven).text != woven:
            return "interleaved twice is another text"
    except FormatError as error:
        return f"refused: {error}"
    after = played("X:1\n" + separate(woven), folder)
    if before == after:
        return "same"
    if after is None or len(before) != len(after):
        return "another number of notes"
    if [pitch for _, pitch, _ in before] != [pitch for _, pitch, _ in after]:
        return "other pitches"
    return "other lengths" if [length for *_, length in before] != [length for *_, length in after] else "same"


def main() -> None:
    """Draw tunes, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--n_tunes", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=10, help="tunes that differ to print")
    parser.add_argument("--keep", type=Path, help="folder for the tunes that differ")
    args = parser.parse_args()
    files = sorted(file for folder in args.folders for file in folder.rglob("*.abc"))
    books = [(file, number, tune) for file in files for number, tune in enumerate(tunes_of(_text(file)), start=1)]
    chosen = random.Random(args.seed).sample(books, min(args.n_tunes, len(books)))
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for file, number, tune in chosen:
            found = compare(tune, Path(folder))
            counts[found] += 1
            if found not in ("same", "abc2midi plays nothing"):
                if args.show > 0:
                    args.show -= 1
                    print(f"{file.name}#{number}: {found}")
                if args.keep is not None:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    (args.keep / f"{file.stem}.{number}.abc").write_text(tune, encoding="utf-8")
    played_all = sum(counts.values()) - counts["abc2midi plays nothing"]
    print(f"{len(books)} tunes in {len(files)} files; {counts['same']} of {played_all} the same")
    for what, count in counts.most_common():
        print(f"{count:6d}  {what}")


def _text(file: Path) -> str:
    return decode_lenient(file.read_bytes())[0]


if __name__ == "__main__":
    main()
