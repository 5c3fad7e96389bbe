"""Print the speed table of the README from the results, one column per processor.

    python benchmarks/table.py                  # benchmarks/results
    python benchmarks/table.py --results DIR

Every cell says what the released way took, what ours takes, in float32 and then, after a slash, in bfloat16, and in
brackets how many times faster that is: both were measured by turns in one run, so the ratio holds although the seconds
are those of one machine. All results of a vendor must come from one machine; otherwise one sentence says which do not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import RESULTS, vendor_of

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.errors import DataError


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    title : str
        With the names of a result's figures in braces where the size of the work is one of them.
    names : tuple of str
        Benchmarks that measure it; the first that a processor has counts.
    ours : tuple of str
        Keys of the figures, those of nested ones joined by slashes: in float32, and in bfloat16 where that is measured.
    released : str
        Key of the released way's; "" where it has none.
    times : tuple of str
        Keys of how many times faster each of ours is; where the benchmark does not say, it is the ratio.
    per_sec : bool
        More is better; otherwise the figures are seconds.
    """

    title: str
    names: tuple[str, ...]
    ours: tuple[str, ...]
    released: str = ""
    times: tuple[str, ...] = ()
    per_sec: bool = False


_EXTRACT = ("extract", "extract_float32")


def _both(pattern: str) -> tuple[str, ...]:
    """Return a key for each arithmetic."""
    return tuple(pattern.format(dtype) for dtype in ("float32", "bfloat16"))


def _rate(title: str, kind: str) -> Row:
    """Return the row of an input's rate of encoding."""
    return Row(
        title,
        _EXTRACT,
        _both(f"{kind}_per_sec_{{}}"),
        f"{kind}_per_sec_released",
        _both(f"{kind}_times_released_{{}}"),
        per_sec=True,
    )


def _wall(title: str, name: str, part: str, times: str) -> Row:
    """Return the row of a conversion."""
    return Row(title, (name,), (f"{part}/ours/wall_sec",), f"{part}/released/wall_sec", (f"{part}/{times}",))


ROWS = (
    _wall("{n_files} scores to ABC", "convert_scores", "standard", "times_faster_wall"),
    _wall("interleaving {n_files} scores", "convert_scores", "interleaved", "times_faster_wall"),
    _wall("{files} performances to MTF", "convert_midi", "folder", "times_faster/wall"),
    _rate("short scores per second", "score"),
    _rate("long performances per second", "midi"),
    _rate("texts per second", "text"),
    Row("start to the first vector", _EXTRACT, ("first_vector_sec_text",), "first_vector_sec_released"),
    Row("a question to 40 raw chorales", _EXTRACT, _both("question_to_40_raw_chorales_sec_{}")),
    Row("the next question", _EXTRACT, _both("next_question_sec_{}")),
    Row(
        "MERT, a chunk of 5 s",
        ("audio", "audio_mert"),
        _both("mert/{}/sec_per_chunk"),
        "mert/chunk_by_chunk_sec_per_chunk",
        _both("mert/{}/times_faster"),
    ),
    Row(
        "training step of {batch_size} text–score pairs, small model",
        ("training_speed",),
        ("symbolic/ours/step_sec",),
        "symbolic/reference/step_sec",
        ("symbolic/times_faster",),
    ),
    Row(
        "MRR of 2,000 × 2,000 `.npy` files, whole process",
        ("evaluation_folders", "evaluation"),
        ("eval_mrr_2000_files_process_sec",),
        "released_way_2000_files_sec_measured|released_way_2000_files_sec_by_square",
    ),
    Row(
        "ranks of 100,000 queries among 1,000,000 references",
        ("evaluation_ranks", "evaluation"),
        ("ranks_100000_among_1000000_sec",),
    ),
    Row(
        "epochs per second of a probe, batches of one",
        ("probe",),
        ("epochs_per_sec",),
        "epochs_per_sec_plain_torch",
        per_sec=True,
    ),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of results (default: %(default)s)")
    return parser


def read(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what was measured on CPUs: results by vendor and name of the benchmark.

    Raises
    ------
    DataError
        If a file's name says another vendor than its content, or results of a vendor come from several machines.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    wanted = {name for row in ROWS for name in row.names}
    for path in sorted(folder.glob("*.*.json")):
        name, vendor = path.name.split(".")[:2]
        if name not in wanted or vendor == "nvidia":
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        actual = vendor_of(content["machine"]["processor"])
        if actual != vendor:
            raise DataError(f"{path.name} was measured on {machine_of(content)}, whose vendor is {actual}.")
        found.setdefault(vendor, {})[name] = content
    for vendor, results in found.items():
        machines = {machine_of(content): name for name, content in results.items()}
        if len(machines) > 1:
            which = ", ".join(f"{name} on {machine}" for machine, name in sorted(machines.items()))
            raise DataError(f"one column shows one machine, but the results of {vendor} come from several: {which}.")
    return found


def machine_of(content: Mapping[str, Any]) -> str:
    """Return what must be equal within a column, as its heading."""
    machine = content["machine"]
    return f"{machine['processor']}, {machine['usable_cores']} cores"


def table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return Markdown: a line per row that some processor has, a column per processor."""
    columns = sorted(found)
    headings = [machine_of(next(iter(found[vendor].values()))) for vendor in columns]
    lines: dict[str, list[str]] = {}
    for row in ROWS:
        for at, vendor in enumerate(columns):
            result = next((found[vendor][name]["result"] for name in row.names if name in found[vendor]), None)
            if result is not None and (text := cell(row, result)):
                sizes = {**result.get(row.ours[0].partition("/")[0], {}), **result} if "/" in row.ours[0] else result
                lines.setdefault(row.title.format(**sizes), ["–"] * len(columns))[at] = text
    rows = [["", *headings], ["---"] * (1 + len(columns)), *([title, *cells] for title, cells in lines.items())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def cell(row: Row, result: Mapping[str, Any]) -> str:
    """Return what one processor makes of a row: the released way, ours, how many times faster; "" if unmeasured."""
    released = figure(result, row.released)
    shown, times = [], []
    for at, key in enumerate(row.ours):
        value = figure(result, key)
        if value is None:
            continue
        shown.append(short(value))
        said = figure(result, row.times[at]) if row.times else None
        if said is not None:
            times.append(short(said))
        elif released is not None:
            times.append(short(value / released if row.per_sec else released / value))
    if not shown:
        return ""
    text = " / ".join(shown) + ("" if row.per_sec else " s")
    return text if released is None else f"{short(released)} → {text} ({', '.join(f'{one} ×' for one in times)})"


def figure(result: Mapping[str, Any], key: str) -> float | None:
    """Return a figure of a result by its key, or the first of several between bars; None if it has none."""
    for one in key.split("|"):
        value: Any = result
        for part in one.split("/"):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, (int, float)):
            return value
    return None


def short(value: float) -> str:
    """Return a figure with about three digits."""
    digits: Iterable[tuple[float, int]] = ((100, 0), (10, 1), (1, 2), (0, 3))
    return f"{value:,.{next(n for least, n in digits if value >= least)}f}"


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    args = build_parser().parse_args(argv)
    print(table(read(args.results)))
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
