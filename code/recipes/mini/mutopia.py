"""Make MIDI files of the Mutopia Project's LilyPond sources, with a table of what their headers say.

    pip install --target TEACHER lilypond             and name TEACHER in PYTHONPATH
    python code/recipes/mini/mutopia.py COLLECTIONS/mutopia
    python code/recipes/mini/mutopia.py COLLECTIONS/mutopia --limit 20      a trial

The folder has the sources below ftp/COMPOSER/…; the pieces for a keyboard instrument that have a MIDI block are taken,
the first score of each. Writes midi/NAME.mid and metadata.tsv, which wider.py reads. What exists is kept; a source that
LilyPond 2.25 no longer understands is left out and counted.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run

COLUMNS = ("midi", "composer", "title", "opus", "instrument", "style")
KEYBOARD = r"piano(?! *,? *(and )?(voice|violin|flute))|harpsichord|clavi"
LONGEST_SEC = 30


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("folder", type=Path, help="folder that has ftp/ in it")
    parser.add_argument("--limit", type=int, help="only every n-th source so that about this many are left")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    return parser


def header_of(text: str) -> dict[str, str]:
    r"""Return what the header of a source says, without the prefix ``mutopia``, which comes first.

    Examples
    --------
    >>> header_of('\\header { composer = "F. Chopin" mutopiacomposer = "ChopinFF" opus = "Op. 9" }')
    {'composer': 'ChopinFF', 'opus': 'Op. 9'}
    """
    found: dict[str, str] = {}
    for prefix, name, value in re.findall(r'\b(mutopia)?(\w+)\s*=\s*"([^"\n]*)"', text):
        if prefix or name not in found:
            found[name] = value.strip()
    return found


def sources(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """Return the sources that make MIDI for a keyboard, with their headers, sorted."""
    found = []
    for path in sorted((folder / "ftp").glob("*/**/*.ly")):
        text = path.read_bytes().decode("utf-8", "replace")
        head = header_of(text)
        alone = re.search(KEYBOARD, head.get("instrument", ""), re.IGNORECASE)
        if "\\midi" in text and alone and not re.search(r"voice|and|duet", head["instrument"], re.IGNORECASE):
            found.append((path, head))
    return found


def midi_of(path: Path, lilypond: str) -> bytes:
    """Return the MIDI of a source's first score.

    Parameters
    ----------
    path : Path
    lilypond : str
        Path of the program.

    Raises
    ------
    DataError
        If LilyPond gives none.
    """
    from clamp3.errors import DataError

    with tempfile.TemporaryDirectory() as temporary:
        command = [lilypond, "-dno-print-pages", "--loglevel=NONE", "-o", f"{temporary}/a", path.name]
        subprocess.run(  # noqa: S603
            command, cwd=path.parent, capture_output=True, timeout=LONGEST_SEC, check=False
        )
        made = sorted(Path(temporary).glob("*.mid*"))
        if not made:
            raise DataError(f"{path.name}: LilyPond makes no MIDI of it.")
        return made[0].read_bytes()


def write_midi(job: tuple[Path, dict[str, str]], *, folder: str, lilypond: str) -> dict[str, str]:
    """Write the MIDI of a source unless it exists; return its row of the table."""
    from clamp3.jobs.atomic import write_bytes

    path, head = job
    name = "-".join(path.relative_to(Path(folder, "ftp")).with_suffix(".mid").parts)
    target = Path(folder, "midi", name)
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        write_bytes(target, midi_of(path, lilypond), durable=False)
    composer = path.relative_to(Path(folder, "ftp")).parts[0]
    return {"midi": f"midi/{name}", **{key: head.get(key, "") for key in COLUMNS[2:]}, "composer": composer}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.errors import ConfigError
    from clamp3.jobs.atomic import write_text
    from clamp3.jobs.parallel import process_map

    args = build_parser().parse_args(argv)
    try:
        import lilypond
    except ImportError:
        raise ConfigError("LilyPond is not installed; pip install --target TEACHER lilypond.") from None
    jobs = sources(args.folder)
    jobs = jobs[:: max(1, len(jobs) // args.limit)] if args.limit else jobs
    job = partial(write_midi, folder=str(args.folder), lilypond=str(lilypond.executable()))
    rows = [one.value for one in process_map(job, jobs, n_workers=args.workers, timeout_sec=60, desc="LilyPond")]
    made = [row for row in rows if row is not None]
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    write_text(args.folder / "metadata.tsv", table.getvalue())
    print(f"{len(made)} of {len(jobs)} sources gave MIDI")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
