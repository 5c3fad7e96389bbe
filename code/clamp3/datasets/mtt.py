"""MagnaTagATune: 25,863 clips of 29 s labelled with 188 tags, of which the 50 most frequent are used.

Clips without one of the 50 tags are kept, as in MARBLE. Three clips of the distribution are empty files.
"""

from __future__ import annotations

from pathlib import Path

from clamp3.datasets.labelled import Example, Part, recording
from clamp3.datasets.source import Dataset, Input, without_suffix
from clamp3.errors import FormatError, printable
from clamp3.formats.tables import read_csv

N_TAGS = 50

MTT = Dataset(
    "mtt",
    "MagnaTagATune",
    "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
    "see the site",
    (
        Input("annotations_final.csv", "25,863 rows, tab-separated: clip_id, a column of 0 and 1 per tag, mp3_path"),
        Input("mp3/<0…f>/*.mp3", "mp3.zip.001 to 003, joined and unpacked", ("mp3/?/*", "?/*")),
    ),
)


def read(root: Path) -> tuple[list[Example], tuple[str, ...]]:
    """Return the clips, and the 50 tags in the order of their frequency.

    Folders 0 to b are for training, c for validation, d to f for testing. Equally frequent tags are in the order of
    columns.

    Raises
    ------
    ConfigError
        If the table is missing.
    FormatError
        If it is not the table of this data set.
    """
    path = MTT.need(root, "annotations_final.csv")
    rows = read_csv(path, "clip_id", "mp3_path", delimiter="\t")
    columns = [name for name in rows[0] if name not in ("clip_id", "mp3_path")]
    counts = {tag: sum(row[tag] == "1" for row in rows) for tag in columns}
    tags = sorted(columns, key=lambda tag: -counts[tag])[:N_TAGS]
    folder = root / "mp3" if (root / "mp3").is_dir() else root
    examples = []
    for number, row in enumerate(rows, start=2):
        relative = row["mp3_path"]
        if relative[:1] not in set("0123456789abcdef"):
            raise FormatError(f"{printable(path)}:{number} has the path {relative!r}, which starts with no folder 0-f.")
        part: Part = "train" if relative[0] < "c" else "valid" if relative[0] == "c" else "test"
        label = tuple(tag for tag in tags if row[tag] == "1")
        examples.append(Example(without_suffix(relative), recording(folder, relative), label, part))
    return examples, tuple(tags)
