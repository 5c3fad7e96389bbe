"""Draw BLEU of back-translations and retrieval by language, for a benchmark of make_benchmark.py.

    python retrieval/benchmark.py own --data own/ --model mini --json result.json
    python examples/own_benchmark/draw.py own/ result.json languages.png

Works for any benchmark that preprocessing/text/make_benchmark.py made. Needs matplotlib: pip install 'clamp3[eval]'.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "code"))  # `clamp3`, without installation

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.errors import DataError, printable
from clamp3.formats.tables import read_json
from clamp3.jobs.atomic import replacing
from clamp3.jobs.walk import existing


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("benchmark", type=existing, help="folder of the benchmark")
    parser.add_argument("result", type=existing, help="what retrieval/benchmark.py --json wrote")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--target", default="abc", help="what is looked for: abc, midi, audio (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Draw; return the exit code."""
    args = build_parser().parse_args(argv)
    from matplotlib.figure import Figure

    bleu: dict[str, dict[str, Any]] = read_json(args.benchmark / "bleu.json")
    scores = {score["task"]: score for score in read_json(args.result)["scores"]}
    names = list(dict.fromkeys(name for rows in bleu.values() for name in rows))
    if not names or f"{names[0]}-{args.target}" not in scores:
        raise DataError(f"{printable(args.result)} has no translated texts to {args.target}.")
    figure = Figure(figsize=(10, 3 * len(names)), layout="constrained")
    for row, name in zip(figure.subplots(len(names), 2, squeeze=False), names, strict=True):
        languages = [code for code in bleu if name in bleu[code]]
        row[0].bar(languages, [bleu[code][name]["bleu"] for code in languages], color="#4477aa")
        row[0].set(title=f"{name}: BLEU of the back-translation", ylim=(0, 100))
        tasks = {"en": scores[f"{name}-{args.target}"]}
        tasks |= {code: score for code in languages if (score := scores.get(f"{name}.{code}-{args.target}"))}
        heights = [score["metrics"]["mrr"] for score in tasks.values()]
        bounds = [score["intervals_95"]["mrr"] for score in tasks.values()]
        apart = list(zip(*((y - low, high - y) for y, (low, high) in zip(heights, bounds, strict=True)), strict=True))
        row[1].bar(list(tasks), heights, yerr=apart, capsize=3, color="#ccbb44")
        row[1].axhline(tasks["en"]["metrics"]["chance_mrr"], color="black", linestyle=":", label="chance")
        row[1].set(title=f"{name} to {args.target}: MRR, 95 % intervals")
        row[1].legend()
    with replacing(args.picture) as part:
        figure.savefig(part, format="png", dpi=80)
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
