r"""Train CLaMP 3 in the stages of the paper, one after the other, and report what each of them did.

As published, from XLM-R and M3, on eight GPUs:
    python code/recipes/stages.py --order saas --init xlmr+m3 --train_jsonl m4rag.jsonl --eval_jsonl valid.jsonl \
        --work_dir runs/saas --launch "torchrun --standalone --nproc_per_node=8"
The variant c2, from CLaMP 2; two stages are enough:
    python code/recipes/stages.py --order sa --init clamp2 --train_jsonl m4rag.jsonl --eval_jsonl valid.jsonl
A trial of the whole on a small model: see docs/training.md.

--pairs adds two runs from the last stage: text with both kinds of music, and all pairs, music with music among them.
Records need scores, performances and audio features (.abc .mtf .npy) among their filepaths, not all of them each.
WORK_DIR has a folder per stage, stages.json (what is done), report.json and report.md (what it did). Stop it any time
and give the same command again to go on. Towers that a stage does not train are checked to stay the same, bit by bit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from clamp3.training.stages import ALL_PAIRS, ORDERS


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument(
        "--order", choices=ORDERS, default="saas", help="s = symbolic, a = audio (default: %(default)s)"
    )
    parser.add_argument(
        "--init", nargs="+", default=["xlmr", "m3"], help="xlmr (= --text_model), m3, clamp2, saas, files"
    )
    parser.add_argument("--train_jsonl", type=Path, required=True, help="training records")
    parser.add_argument("--eval_jsonl", type=Path, required=True, help="evaluation records of every stage")
    parser.add_argument("--test_jsonl", type=Path, help="records of the report (default: those of --eval_jsonl)")
    parser.add_argument("--work_dir", type=Path, default=Path("runs/stages"), help="everything goes here")
    parser.add_argument("--pairs", nargs="*", help=f"train on pairs after the stages (alone: {' '.join(ALL_PAIRS)})")
    parser.add_argument("--launch", default="", help="what starts a trainer in place of python, such as torchrun ...")
    for name in ("symbolic", "audio", "pair"):
        parser.add_argument(f"--{name}", default="", help=f'flags of the {name} stages only, as "--max_steps 300"')
    parser.add_argument("--stage", nargs=2, action="append", default=[], metavar=("NAME", "FLAGS"), help="of one stage")
    parser.add_argument("flags", nargs="*", help="after --: flags of all stages")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    args = build_parser().parse_args(argv)
    from recipes.stage_runs import run_stages

    return run_stages(args)


if __name__ == "__main__":
    raise SystemExit(run(main))
