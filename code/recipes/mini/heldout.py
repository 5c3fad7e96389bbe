"""The held-out works, for demonstrations and tests: real music that no training step of the mini model has seen.

``heldout.txt`` beside this file lists the ids that the split of the shipped model gave; building the data
anew gives the same list as long as music21's corpus is the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recipes.mini.works import Source, corpus_root, list_works

# Largest sources of which a conversion and an embedding take well under a second.
LARGEST_BYTES = {"abc": 1_200, "kern": 9_000, "musicxml": 120_000, "mxl": 9_000}
# Distinct in sound first: a demonstration of ten pieces has one of each.
ORDER = (
    "bach_chorale", "oneill", "essen_china", "palestrina", "ryan", "trecento", "essen_europe", "aird", "monteverdi",
    "string_quartet", "misc_folk", "art_music",
)  # fmt: skip


def heldout_ids() -> list[str]:
    """Return the ids of all held-out pieces, sorted."""
    return Path(__file__).with_name("heldout.txt").read_text(encoding="utf-8").split()


def heldout_works() -> list[Source]:
    """Return all held-out pieces, sorted by id."""
    wanted = set(heldout_ids())
    return [work for work in list_works(corpus_root()) if work.id in wanted]


def heldout_examples(n: int) -> list[Source]:
    """Return ``n`` short held-out pieces, fewer if there are not so many, as varied as the collections allow."""
    root = corpus_root()
    short = [work for work in heldout_works() if _size(work, root) <= LARGEST_BYTES[_size_class(work)]]
    short.sort(key=lambda work: hashlib.sha256(work.id.encode()).hexdigest())
    seen: Counter[str] = Counter()
    turns = []
    for work in short:
        turns.append((seen[work.collection], ORDER.index(work.collection), work.id, work))
        seen[work.collection] += 1
    return [work for *_, work in sorted(turns, key=lambda turn: turn[:3])[:n]]


def _size_class(work: Source) -> str:
    return "mxl" if work.path.endswith(".mxl") else work.kind


def _size(work: Source, root: Path) -> int:
    return len(work.text) if work.kind == "abc" else (root / work.path).stat().st_size


def write_examples(works: Iterable[Source], folder: Path) -> list[dict[str, Any]]:
    """Write pieces as raw files of several types and return their records.

    Every third piece becomes a MIDI file; of the others kern and MusicXML are copied as they are and ABC
    tunes become MusicXML.

    Parameters
    ----------
    works : iterable of Source
    folder : Path
        Made if it does not exist.

    Returns
    -------
    list of dict
        Records as `recipes.mini.records.make_record` gives them, ``filepaths`` naming the one file.
    """
    from recipes.mini.pieces import midi_of, musicxml_of, row_of
    from recipes.mini.records import make_record
    from recipes.mini.scores import read_musicxml

    root = corpus_root()
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index, work in enumerate(works):
        xml = musicxml_of(work, root)
        score = read_musicxml(xml)
        if index % 3 == 2:
            name, data = f"{work.id}.mid", midi_of(work, score)
        elif work.kind == "abc":
            name, data = f"{work.id}.musicxml", xml
        else:
            name, data = work.id + Path(work.path).suffix, (root / work.path).read_bytes()
        (folder / name).write_bytes(data)
        records.append({**make_record(row_of(work, score)), "filepaths": [name]})
    return records
