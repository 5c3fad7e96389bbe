"""One piece at a time: a `Source` to MusicXML, interleaved ABC, MIDI, MTF and its row of facts."""

from __future__ import annotations

import contextlib
import hashlib
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes.mini.scores import Score
from recipes.mini.works import KERN_BARS, Source

# MIDI files of users differ in resolution and loudness; 10080 is what music21 writes.
TICKS = (480, 480, 480, 480, 10080, 10080, 10080, 96, 120, 192, 240, 384, 960, 1024)
VELOCITIES = (90, 90, 90, 64, 72, 80, 96, 100, 110, 127)
TITLED = frozenset({"bach_chorale", "monteverdi", "string_quartet"})  # scores that hold a better title than their name


def draw(text: str, n: int) -> int:
    """Return a number below ``n`` that depends on the text only."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % n


def musicxml_of(work: Source, root: Path) -> bytes:
    """Return the MusicXML of a piece: as it is, or made from ABC or kern."""
    if work.kind == "abc":
        from abctoolkit.abc2xml import fixDoctype, getXmlDocs

        from clamp3.errors import FormatError

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trees = getXmlDocs(work.text, skip=0, num=1)
            if not trees:
                raise FormatError("abc2xml cannot read this tune.")
            return str(fixDoctype(trees[0])).encode("utf-8")
    data = (root / work.path).read_bytes()
    if work.kind == "kern":
        from clamp3.formats.notation import score_to_musicxml

        return score_to_musicxml(cut_kern(data), suffix=".krn", name=work.id)
    if data[:2] == b"PK":
        from clamp3.formats.guards import unpack_mxl

        data = unpack_mxl(data)
    return data


def cut_kern(data: bytes) -> bytes:
    """Return the first `KERN_BARS` bars: more does not fit the model's window, and music21 is slow."""
    lines = data.decode("utf-8", "replace").splitlines()
    stop = next((at for at, line in enumerate(lines) if line.startswith(f"={KERN_BARS + 1}\t")), None)
    if stop is not None:
        lines = [*lines[:stop], "\t".join(["*-"] * (lines[stop].count("\t") + 1))]
    return ("\n".join(lines) + "\n").encode()


def midi_of(work: Source, score: Score) -> bytes:
    """Return a MIDI file of a piece; resolution and velocity are drawn from its id."""
    from recipes.mini.scores import to_midi

    ticks = TICKS[draw(work.id + "ticks", len(TICKS))]
    return to_midi(score, ticks=ticks, velocity=VELOCITIES[draw(work.id + "velocity", len(VELOCITIES))])


def row_of(work: Source, score: Score) -> dict[str, Any]:
    """Return a piece's row for ``pieces.jsonl``: its header, its facts, the paths of its files, its fingerprints."""
    from recipes.mini.scores import facts_of, fingerprints

    row = {name: value for name, value in asdict(work).items() if name not in ("text", "tonic", "mode")}
    row["title"] = work.title or score.title
    if work.kind == "musicxml" and work.collection in TITLED and " " in score.title:
        row["title"] = f"{work.title}: {score.title}"
    row["facts"] = facts_of(score, work.tonic, work.mode)
    row["whole"], row["incipit"] = fingerprints(score)
    for kind in ("mtf",) if work.kind == "midi" else ("abc", "mtf"):
        row[kind] = f"{work.collection}/{work.id}.{kind}"
    return row


def convert(work: Source, *, root: str, out: str) -> dict[str, Any]:
    """Write a piece's ABC (not of MIDI) and MTF below ``out/pieces`` and return its row for ``pieces.jsonl``."""
    from clamp3.formats.abc.interleave import interleave
    from clamp3.formats.mtf import midi_to_mtf
    from clamp3.formats.musicxml import musicxml_to_abc
    from recipes.mini.performances import read_midi_score
    from recipes.mini.scores import read_musicxml

    texts = {}
    if work.kind == "midi":
        midi = Path(root, work.path).read_bytes()
        score = read_midi_score(midi)
    else:
        xml = musicxml_of(work, Path(root))
        score = read_musicxml(xml)
        texts["abc"] = interleave(musicxml_to_abc(xml, name=work.id).text).text
        midi = midi_of(work, score)
    texts["mtf"] = midi_to_mtf(midi).text
    row = row_of(work, score)
    for kind, text in texts.items():
        path = Path(out, "pieces", row[kind])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return row
