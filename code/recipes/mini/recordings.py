"""Real recordings, of which training has seen none: whether words find them.

    python code/recipes/mini/recordings.py RECORDINGS_DIR                 (once; Debian: apt-get and dpkg-deb)
    python code/recipes/mini/recordings.py RECORDINGS_DIR --packages DIR       packages that lie there already
    python code/recipes/mini/outside.py OUTSIDE_DIR --recordings RECORDINGS_DIR --model mini

Game music of Debian's packages, which are fetched, checked by the SHA-256 of every track (recordings.tsv) and unpacked,
not installed; nothing of it is part of this repository. The tracks' log-mel features are kept in RECORDINGS_DIR, with
the first two minutes of a track, as a search does it. Licences: wesnoth GPL-2+, singularity CC BY-SA 3.0, hyperrogue
CC BY-SA 3.0, asc GPL-2+.

recordings.tsv was written by hand, but without listening: from the titles and places that packages, files and tags
name, and from what was computed of the sound (tempo, onsets a second, key, loudness, brightness, share of beats and of
bass). So instruments are named only where a source states them. Column `tags` has what precision is measured by:
orchestra is the genre that the files state, slow fewer than 1.5 onsets a second, fast 5.2 and more, mode where the key
is clear.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run

TOP = 5
# One question for each tag; relevant are the tracks that have it.
QUESTIONS = {
    "calm": "calm and quiet music to relax", "battle": "furious music for a battle", "dark": "dark, eerie music",
    "bright": "cheerful, bright music", "slow": "very slow music", "fast": "fast, driving music",
    "sad": "a sad lament", "electronic": "electronic music with synthesizers", "orchestra": "romantic orchestral music",
    "minor": "music in a minor key",
    "major": "music in a major key",
}  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("recordings_dir", type=Path, help="folder to write to")
    parser.add_argument("--packages", type=Path, help="folder of .deb files (default: fetched by apt-get download)")
    return parser


def read_tracks(path: Path | None = None) -> list[dict[str, str]]:
    """Return the rows of recordings.tsv: package, file, sha256, caption, tags."""
    with (path or Path(__file__).with_suffix(".tsv")).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def features_of(row: dict[str, str], folder: Path) -> Path:
    """Return where the features of a track are.

    Parameters
    ----------
    row : dict
        Of recordings.tsv.
    folder : Path
    """
    return folder / f"{row['sha256'][:16]}.npy"


def call(*command: str, folder: Path) -> None:
    """Run a program in a folder.

    Raises
    ------
    DataError
        If it is not there or fails.
    """
    from clamp3.errors import DataError

    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise DataError(f"{command[0]} is not installed; the recordings come in Debian's packages.") from None
    if done.returncode:
        raise DataError(f"{' '.join(command)} failed: {done.stderr.strip()[-200:]}")


def write_package(package: str, rows: list[dict[str, str]], folder: Path, packages: Path | None) -> None:
    """Write the features of a package's tracks.

    Parameters
    ----------
    package : str
    rows : list of dict
        Of its tracks.
    folder : Path
        Where to.
    packages : Path or None
        Where its .deb is, if it is not to be fetched.

    Raises
    ------
    DataError
        If there is no such package, or a track is not the one that was described.
    """
    from clamp3.errors import DataError
    from clamp3.formats.audio import Sound
    from clamp3.formats.mel import LONGEST_SEC, log_mel
    from clamp3.sources import digest
    from recipes.mini.render import write_frames

    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        if packages is None:
            call("apt-get", "download", package, folder=here)
        found = sorted((packages or here).glob(f"{package}_*.deb"))
        if not found:
            raise DataError(f"{packages} has no package {package}.")
        call("dpkg-deb", "-x", str(found[-1].resolve()), "files", folder=here)
        for row in rows:
            track = here / "files" / row["file"]
            data = track.read_bytes() if track.is_file() else b""
            if digest(data) != row["sha256"]:
                raise DataError(f"{found[-1].name}: {row['file']} is not the recording that recordings.tsv describes.")
            write_frames(features_of(row, folder), log_mel(Sound(data, track.name).blocks(LONGEST_SEC)))


def measure(encode: Any, folder: Path) -> dict[str, Any]:
    """Return how well captions find their recordings, and questions those of a tag.

    Parameters
    ----------
    encode : recipes.mini.evaluate.Vectors
    folder : Path
        What this script wrote.

    Raises
    ------
    DataError
        If a track is missing: numbers over a part would flatter.
    """
    import numpy as np

    from clamp3.errors import DataError
    from clamp3.index.ranking import unit_rows
    from recipes.mini.evaluate import precision_at, retrieval

    if encode.model.lacks("audio") is not None:
        return {}
    rows = read_tracks()
    lost = [row["file"] for row in rows if not features_of(row, folder).exists()]
    if lost:
        raise DataError(f"{len(lost)} of {len(rows)} recordings are not in {folder}; run recordings.py first.")
    sounds = encode([features_of(row, folder) for row in rows])
    found: dict[str, Any] = {"caption to recording": retrieval(encode.texts([row["caption"] for row in rows]), sounds)}
    scores = unit_rows(encode.texts(list(QUESTIONS.values()))) @ unit_rows(sounds).T
    by_tag, shares = {}, []
    for tag, one in zip(QUESTIONS, scores, strict=True):
        relevant = np.array([tag in row["tags"].split() for row in rows])
        by_tag[tag] = round(precision_at(TOP, one, relevant), 4)
        shares.append(float(relevant.mean()))
    found["tag to recordings"] = {
        "queries": len(by_tag),
        "precision_at_5": round(float(np.mean(list(by_tag.values()))), 4),
        "share_relevant": round(float(np.mean(shares)), 4),
        "by_tag": by_tag,
    }
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    rows = read_tracks()
    args.recordings_dir.mkdir(parents=True, exist_ok=True)
    for package in dict.fromkeys(row["package"] for row in rows):
        mine = [row for row in rows if row["package"] == package]
        if not all(features_of(row, args.recordings_dir).exists() for row in mine):
            write_package(package, mine, args.recordings_dir, args.packages)
        print(f"{package}: {len(mine)} recordings", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
