"""VGMIDI: piano arrangements of video game music with signs of valence and arousal, four emotions.

The labels are those of 204 phrases, which the distribution has in ``labelled/phrases.zip``. Where neither that nor the
unpacked folder exists, the whole pieces in ``labelled/midi`` are read, of which 197 have one label: three have phrases
with different labels, and four have none.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from clamp3.datasets.labelled import Example
from clamp3.datasets.source import Dataset, Input, files_by_key, stem
from clamp3.errors import FormatError, printable
from clamp3.formats import Kind
from clamp3.formats.guards import each_member, read_file
from clamp3.formats.tables import read_csv
from clamp3.sources import Source

# By (valence, arousal); the names are the authors'.
EMOTIONS = {("1", "1"): "happy", ("-1", "1"): "angry", ("-1", "-1"): "sad", ("1", "-1"): "calm"}

PHRASES = "labelled/phrases.zip"

VGMIDI = Dataset(
    "vgmidi",
    "VGMIDI",
    "https://github.com/lucasnfe/vgmidi",
    "none stated",
    (
        Input("vgmidi_labelled.csv", "204 rows: midi, valence, arousal"),
        Input(PHRASES, "the 204 labelled phrases; or unpacked, labelled/phrases/*.mid", ("labelled/phrases/*.mid",)),
        Input("labelled/midi/*.mid", "204 pieces, read where there are no phrases", optional=True),
        Input("abc/<name of the MIDI>.*", "the same pieces as scores, where you have them (published: ABC)"),
    ),
)


def read(root: Path) -> tuple[list[Example], list[tuple[str, str]]]:
    """Return the labelled phrases, or pieces, and the files that are left out with the reason.

    Raises
    ------
    ConfigError
        If the table or the MIDI files are missing.
    FormatError
        If a sign is neither 1 nor -1, or the archive cannot be read.
    """
    path = VGMIDI.need(root, "vgmidi_labelled.csv")
    files = _phrases(root / "labelled")
    phrases = bool(files)
    if not phrases:
        files = files_by_key(VGMIDI.need(root, "labelled/midi", PHRASES), stem, "symbolic")
    emotions: dict[str, set[str]] = {}
    for number, row in enumerate(read_csv(path, "midi", "valence", "arousal"), start=2):
        signs = row["valence"].strip(), row["arousal"].strip()
        if signs not in EMOTIONS:
            raise FormatError(f"{printable(path)}:{number} has the signs {signs}; they are 1 or -1.")
        name = PurePosixPath(row["midi"]).stem  # of a phrase: the piece's name and _0, _1 …
        emotions.setdefault(name if phrases else name.rpartition("_")[0], set()).add(EMOTIONS[signs])
    problems = [
        (f"{name}.mid", f"its phrases are {' and '.join(sorted(found))}: no one label")
        for name, found in emotions.items()
        if len(found) > 1
    ]
    problems += [
        (source.name, "no row of the table has its name") for name, source in files.items() if name not in emotions
    ]
    examples = [
        Example(name, files.get(name), next(iter(found))) for name, found in emotions.items() if len(found) == 1
    ]
    return sorted(examples, key=lambda example: example.id), sorted(problems)


def _phrases(folder: Path) -> dict[str, Source]:
    """Return the phrases by name, of the folder or else of the archive."""
    archive = folder / "phrases.zip"
    if (folder / "phrases").is_dir() or not archive.is_file():
        return files_by_key(folder / "phrases", stem, "symbolic")
    members = each_member(read_file(archive), "phrases.zip", ".mid")
    return {PurePosixPath(name).stem: Source(Kind.MIDI, name, data=data) for name, data in members}
