r"""What each option beyond the published recipe does, when mini is fine-tuned on pieces it never saw.

    python code/recipes/mini/build_data.py runs/m21 --limit 2500
    python benchmarks/training_options.py runs/m21 --pieces 100
    python benchmarks/training_options.py runs/m21 --only preset ema

Data and measures are those of finetune.py: texts in a shorthand, MRR text → score and back among 200 other pieces;
besides, MRR by the texts that mini was trained with, of the same 200 pieces, which says what is forgotten. Every row is
a process of its own, one thread, with its seconds and its peak memory; ``preset`` and one other seed of it say how much
is chance. Writes benchmarks/results/training_options.<vendor>.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from finetune import N_TEST, mrrs, read, shorthand
from machine import write_result

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.formats.tables import json_text

# Names of files are those that `write` makes.
WAYS: dict[str, dict[str, Any]] = {
    "preset": {},
    "preset, seed 1": {"seed": 1},
    "mix 3 1": {"more_jsonl": ("known.jsonl",), "mix": (3.0, 1.0)},
    "every piece twice": {"more_jsonl": ("twice.jsonl",)},
    "every piece twice, mask": {"more_jsonl": ("twice.jsonl",), "mask": ("text",)},
    "near, by metre": {"near": "metre", "near_group": 4},
    "near, by the model": {"near": "current", "near_group": 4},
    "ema": {"ema": 0.9},
    "distill": {"distill": 10.0},
    "rate of text": {"tower_rates": ("text=1e-4",)},
    "last layer": {"train_layers": ("text=1", "symbolic=1")},
    "decay of matrices": {"decay_norms": False},
    "batch 64, 3 steps": {"batch_size": 64, "max_steps": 3},
    "batch 64, 3 steps, recompute": {"batch_size": 64, "max_steps": 3, "recompute": True},
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("data_dir", type=Path, help="what build_data.py wrote")
    parser.add_argument("--pieces", type=int, default=100, help="to train on, evaluation included (default: 100)")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), help="rows (default: all)")
    return parser


def write(data_dir: Path, folder: Path, n_pieces: int) -> None:
    """Write the JSONLs of all rows.

    Parameters
    ----------
    data_dir : Path
        What build_data.py wrote.
    folder : Path
    n_pieces : int
        To train on.
    """
    facts = {row["id"]: row["facts"] for row in read(data_dir / "pieces.jsonl")}
    known = read(data_dir / "heldout.jsonl")
    random.Random(0).shuffle(known)
    rows = [{"id": row["id"], "description": shorthand(facts[row["id"]]), "metre": facts[row["id"]]["metre"],
             "filepaths": row["filepaths"]} for row in known]  # fmt: skip
    parts = {
        "train": rows[:n_pieces],
        "twice": [{**row, "id": f"again {row['id']}"} for row in rows[:n_pieces]],
        "test": rows[-N_TEST:],
        "test_known": known[-N_TEST:],
        "known": read(data_dir / "train.jsonl")[:300],
    }
    for name, part in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(json_text(row) + "\n" for row in part), encoding="utf-8")
    for name in ("heldout", "train"):
        (folder / name).symlink_to((data_dir / name).resolve())


def one_way(way: str, folder: Path, answers: Any) -> None:
    """Train one row, and put its figures into a queue; in a process of its own."""
    import torch

    torch.set_num_threads(1)
    from clamp3.training.alignment import make_alignment_task
    from clamp3.training.config import Clamp3Training
    from clamp3.training.loop import start_run
    from clamp3.training.presets import settled

    changes = dict(WAYS[way])
    if "more_jsonl" in changes:
        changes["more_jsonl"] = tuple(folder / name for name in changes["more_jsonl"])
    out, begin = folder / "runs" / way.replace(" ", "_").replace(",", ""), time.monotonic()
    asked = Clamp3Training(train_jsonl=folder / "train.jsonl", init=("mini",), out=out, preset="finetune", **changes)
    ended = start_run(settled(asked, changes), make_alignment_task)
    seconds, peak = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    measured = {name: mrrs(str(out), folder / f"{name}.jsonl", folder / "x") for name in ("test", "test_known")}
    answers.put({"steps": ended.progress.step, "seconds": round(seconds, 1), "peak_mb": round(peak), **measured})


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(args.data_dir, folder, args.pieces)
        result: dict[str, Any] = {"pieces": args.pieces}
        result["mini"] = {part: mrrs("mini", folder / f"{part}.jsonl", folder / "x") for part in ("test", "test_known")}
        print("mini", result["mini"], flush=True)
        for way in args.only:
            answers = context.SimpleQueue()
            process = context.Process(target=one_way, args=(way, folder, answers))
            process.start()
            process.join()
            result[way] = answers.get() if process.exitcode == 0 else {"failed": process.exitcode}
            print(way, result[way], flush=True)
    print(f"written to {write_result('training_options', result)}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
