"""Read many damaged files with every reader; print how many there were, what escaped, what hung and the slowest.

    python tests/fuzz/run.py --inputs 20000
    python tests/fuzz/run.py --inputs 2000 --seconds 15      # a time for each reader, as CI has
    python tests/fuzz/run.py --readers midi abc --start 20000 --found found

An input is made from its reader and number alone: what is reported can be made again. It escapes if its reader raises
anything but one sentence of ours, ends its process or takes over 1 GB; it hangs if it takes over 10 seconds of the
processor's time, or 60 by the clock. Ends with exit code 1 if anything does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "code")]

STOP_SEC, MEMORY_MB = 60.0, 1024


@dataclass
class Figures:
    """What became of the inputs of one reader."""

    reader: str
    inputs: int = 0
    escapes: list[tuple[int, str]] = field(default_factory=list)
    hangs: list[int] = field(default_factory=list)
    slowest_sec: float = 0.0
    slowest: int = -1
    seconds: float = 0.0


def fuzz(name: str, numbers: range, seconds: float, n_workers: int | None) -> Figures:
    """Give a reader the inputs of these numbers, or as many as the time allows."""
    from trials import trial

    from clamp3.jobs.parallel import process_map

    figures, started = Figures(name), time.monotonic()
    outcomes = process_map(
        trial,
        [(name, number) for number in numbers],
        n_workers=n_workers,
        timeout_sec=STOP_SEC,
        memory_limit_mb=MEMORY_MB,
    )
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            number = numbers[outcome.index]
            figures.inputs += 1
            if outcome.error is not None and any(words in outcome.error for words in ("time limit", "takes too long")):
                figures.hangs.append(number)
            elif outcome.error is not None:
                figures.escapes.append((number, outcome.error))
            if outcome.seconds > figures.slowest_sec:
                figures.slowest_sec, figures.slowest = round(outcome.seconds, 3), number
            if seconds and time.monotonic() - started > seconds:
                break
    figures.seconds = round(time.monotonic() - started, 1)
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="for each reader (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.0, help="longest time for one reader; 0 for no limit")
    parser.add_argument("--readers", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--start", type=int, default=0, help="number of the first input (default: %(default)s)")
    parser.add_argument("--n_workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--found", type=Path, help="folder to write the inputs to that escape or hang")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args(argv)

    from trials import READERS, damaged

    from clamp3.jobs.atomic import write_bytes, write_text

    report = []
    print(f"{'reader':<20}{'inputs':>8}{'escapes':>9}{'hangs':>7}{'slowest':>9}  s in all")
    for name in args.readers or READERS:
        numbers = range(args.start, args.start + args.inputs)
        figures = fuzz(name, numbers, args.seconds, args.n_workers)
        report.append(figures)
        print(f"{name:<20}{figures.inputs:>8}{len(figures.escapes):>9}{len(figures.hangs):>7}"
              f"{figures.slowest_sec:>9.2f}  {figures.seconds:.0f}", flush=True)  # fmt: skip
        for number, reason in [*figures.escapes, *((number, "hangs") for number in figures.hangs)]:
            print(f"  {name}:{number} {reason}")
            if args.found:
                write_bytes(args.found / f"{name}-{number}", damaged(name, number))
    if args.json:
        write_text(args.json, json.dumps([asdict(figures) for figures in report], indent=1) + "\n")
    bad = sum(len(figures.escapes) + len(figures.hangs) for figures in report)
    print(f"{sum(figures.inputs for figures in report)} inputs, {len(report)} readers, {bad} escapes and hangs")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
