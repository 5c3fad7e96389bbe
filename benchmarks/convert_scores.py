"""Time MusicXML to standard ABC to interleaved ABC, ours against the released way, on the same files.

    python benchmarks/convert_scores.py                        # music21's corpus, 654 scores: about 2 minutes
    python benchmarks/convert_scores.py --limit 60             # a tenth of it
    python benchmarks/convert_scores.py --baseline recorded    # compare with figures of an earlier run (see RECORDED)
    python benchmarks/convert_scores.py --input_dir SCORES     # other files

The released way starts one Python process of xml2abc.py per file, from two workers, and interleaves in two processes
with the checks that only print. Ours is what the scripts do: two processes, ledger, hashes, atomic writes. Start-up
counts on both sides. Wall and CPU seconds of both go to benchmarks/results/convert_scores.<vendor>.json; on a busy
machine the CPU seconds are the ones to read.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from machine import write_result

from clamp3.cli import parser_for, run
from clamp3.formats import SUFFIXES, Kind

ROOT = Path(__file__).resolve().parents[1]
N_WORKERS = 2
# Wall seconds of the released scripts (CLaMP 3 at 9016d2b) on 654 files, two idle cores of the kind in the result
# file; interleaving on the 633 files that had come through.
RECORDED = {"standard": {"wall_sec": 40.0, "n_files": 654}, "interleaved": {"wall_sec": 2.8, "n_files": 633}}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this benchmark's flags."""
    parser = parser_for(__doc__)
    parser.add_argument("--input_dir", type=Path, help="folder of MusicXML files (default: music21's corpus)")
    parser.add_argument("--limit", type=int, help="take this many files, spread evenly")
    parser.add_argument(
        "--baseline", choices=("run", "recorded"), default="run", help="measure the released way, or not"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of ours; the fastest counts (default: %(default)s)"
    )
    return parser


def folder_of(name: str) -> Path:
    """Return where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def score_files(root: Path, limit: int | None) -> list[Path]:
    """Return the MusicXML files below ``root``, sorted, evenly thinned to ``limit``."""
    files = sorted(path for path in root.rglob("*") if SUFFIXES.get(path.suffix.lower()) == Kind.MUSICXML)
    return files[:: max(1, len(files) // limit)][:limit] if limit else files


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Return wall and CPU seconds of a call, its child processes included."""
    cpu, start = cpu_sec(), time.perf_counter()
    work()
    return {"wall_sec": round(time.perf_counter() - start, 3), "cpu_sec": round(cpu_sec() - cpu, 3)}


def cpu_sec() -> float:
    """Return CPU seconds of this process and of its children that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


def released_standard(files: list[Path], target: Path) -> None:
    """One process of xml2abc.py per file, as the released batch_xml2abc.py does it."""
    script = folder_of("abctoolkit") / "xml2abc.py"

    def one(numbered: tuple[int, Path]) -> None:
        number, path = numbered
        command = [sys.executable, str(script), "-d", "8", "-x", str(path)]
        made = subprocess.run(command, capture_output=True, check=False).stdout
        if made:
            (target / f"{number:05}.abc").write_bytes(made)

    with ThreadPoolExecutor(N_WORKERS) as pool:
        list(pool.map(one, enumerate(files)))


def released_interleaved_one(path: Path, target: Path) -> None:
    """The steps of the released batch_interleaved_abc.py, its printing checks included."""
    from abctoolkit.check import check_alignment_unrotated
    from abctoolkit.rotate import rotate_abc
    from abctoolkit.utils import remove_bar_no_annotations, remove_information_field, strip_empty_bars

    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if line.strip()]
    lines = remove_information_field(lines, ["X:", "T:", "C:", "W:", "w:", "Z:", "%%MIDI"])
    lines = remove_bar_no_annotations(lines)
    with contextlib.redirect_stdout(io.StringIO()):
        stripped, _ = strip_empty_bars(lines)
        if stripped is not None:
            check_alignment_unrotated(stripped)
            (target / path.name).write_text("".join(rotate_abc(stripped)), encoding="utf-8")


def released_interleaved(source: Path, target: Path) -> None:
    """Interleave a folder with the released steps, in a process of its own as a script is."""
    target.mkdir()
    code = "import sys; from pathlib import Path; import convert_scores; "
    code += "convert_scores.interleave_folder(Path(sys.argv[1]), Path(sys.argv[2]))"
    folder = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code, str(source), str(target)], cwd=folder, check=True)


def interleave_folder(source: Path, target: Path) -> None:
    """Interleave a folder in two processes."""
    with ProcessPoolExecutor(N_WORKERS) as pool:
        list(pool.map(partial(_or_not, target=target), sorted(source.glob("*.abc")), chunksize=16))


def _or_not(path: Path, target: Path) -> None:
    with contextlib.suppress(Exception):  # the released script skips what fails
        released_interleaved_one(path, target)


def ours(script: str, source: Path, target: Path) -> None:
    """Run one of our scripts in a process of its own, start-up included."""
    command = [sys.executable, str(ROOT / "preprocessing/abc" / script), str(source), str(target)]
    made = subprocess.run([*command, "--n_workers", str(N_WORKERS)], capture_output=True, text=True, check=False)
    if made.returncode not in (0, 1):
        raise RuntimeError(made.stderr)


def best(work: Callable[[Path], Any], base: Path, repeats: int) -> tuple[dict[str, float], Path]:
    """Return the fastest of several runs, each into a folder of its own, and the last folder."""
    runs, target = [], base
    for number in range(repeats):
        target = base / str(number)
        runs.append(measured(partial(work, target)))
    return min(runs, key=lambda run: run["wall_sec"]), target


def main(argv: list[str] | None = None) -> int:
    """Measure both ways, print the comparison, write the result."""
    args = build_parser().parse_args(argv)
    files = score_files(args.input_dir or folder_of("music21") / "corpus", args.limit)
    result: dict[str, Any] = {"n_files": len(files), "n_workers": N_WORKERS, "baseline": args.baseline}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        source = base / "scores"
        source.mkdir()
        for number, path in enumerate(files):
            shutil.copyfile(path, source / f"{number:05}{path.suffix}")
        before = {"standard": RECORDED["standard"], "interleaved": RECORDED["interleaved"]}
        if args.baseline == "run":
            for name in ("old_standard", "old_interleaved"):
                (base / name).mkdir()
            renamed = sorted(source.iterdir())
            before["standard"] = measured(partial(released_standard, renamed, base / "old_standard"))
            before["standard"]["n_files"] = len(list((base / "old_standard").iterdir()))
            before["interleaved"], _ = best(
                partial(released_interleaved, base / "old_standard"),
                base / "old_interleaved",
                args.repeats,
            )
            before["interleaved"]["n_files"] = before["standard"]["n_files"]
        steps = {"standard": "batch_xml2abc.py", "interleaved": "batch_interleaved_abc.py"}
        step_source = source
        for step, script in steps.items():
            new = base / f"new_{step}"
            new.mkdir()
            after, step_source = best(partial(ours, script, step_source), new, args.repeats)
            after["n_files"] = len(list(step_source.glob("*.abc")))
            result[step] = {"released": before[step], "ours": after} | faster(before[step], after)
            print(f"{step}: released {before[step]}, ours {after}, {faster(before[step], after)}")
    print(write_result("convert_scores", result))
    return 0


def faster(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return how many times faster per file ours is, by each clock that both have."""
    clocks = [clock for clock in ("wall_sec", "cpu_sec") if clock in before]
    scale = after["n_files"] / before["n_files"]
    return {f"times_faster_{clock.split('_')[0]}": round(before[clock] * scale / after[clock], 2) for clock in clocks}


if __name__ == "__main__":
    raise SystemExit(run(main))
