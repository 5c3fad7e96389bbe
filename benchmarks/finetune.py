r"""What fine-tuning mini on few pieces gains: by the published loss, by --preset finetune, by adapters.

    python code/recipes/mini/build_data.py runs/m21 --limit 2500
    python benchmarks/finetune.py runs/m21 --pieces 60

Pieces are those that mini's training never saw (heldout.jsonl), their texts in a shorthand that it never saw either:
"16b 6/8 G 1v lo62 hi79 end G inc G A B". Of them --pieces are trained on, a share of these chooses the best epoch, and
MRRs text → score and back are measured on 200 others. Writes benchmarks/results/finetune_<pieces>.<vendor>.json.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import write_result

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.formats.tables import json_text, lines_in, parse_json

N_TEST = 200
WAYS: dict[str, dict[str, Any]] = {
    "published loss": {"loss": "infonce"},
    "preset": {},
    "preset, adapters": {"lora_towers": ("text", "symbolic"), "learning_rate": 1e-3},
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("data_dir", type=Path, help="what build_data.py wrote")
    parser.add_argument("--pieces", type=int, default=60, help="to train on, evaluation included (default: 60)")
    return parser


def shorthand(facts: dict[str, Any]) -> str:
    """Return a piece in a few signs."""
    minor = "m" if facts["mode"] == "minor" else ""
    return (f"{facts['bars']}b {facts['metre']} {facts['key']}{minor} {facts['voices']}v lo{facts['low']} "
            f"hi{facts['high']} end {facts['last']} inc {' '.join(facts['opening'][:6])}")  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL."""
    return [parse_json(line) for _, line in lines_in(path)]


def mrrs(init: str, data: Path, out: Path) -> list[float]:
    """Return the MRRs text → score and score → text of weights."""
    from clamp3.training.alignment import make_alignment_task
    from clamp3.training.config import Clamp3Training
    from clamp3.training.loop import make_accelerator
    from clamp3.training.presets import settled

    config = settled(Clamp3Training(train_jsonl=data, eval_jsonl=data, init=(init,), out=out))
    accelerator = make_accelerator(config)
    found = make_alignment_task(config, accelerator).evaluate(accelerator, lambda: None)
    return [round(found[f"mrr_{way}"], 3) for way in ("text_to_symbolic", "symbolic_to_text")]


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.training.alignment import make_alignment_task
    from clamp3.training.config import Clamp3Training
    from clamp3.training.loop import start_run
    from clamp3.training.presets import settled

    facts = {row["id"]: row["facts"] for row in read(args.data_dir / "pieces.jsonl")}
    rows = [{"id": row["id"], "description": shorthand(facts[row["id"]]), "filepaths": row["filepaths"]}
            for row in read(args.data_dir / "heldout.jsonl")]  # fmt: skip
    random.Random(0).shuffle(rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "heldout").symlink_to((args.data_dir / "heldout").resolve())
        for part, chosen in (("train", rows[: args.pieces]), ("test", rows[-N_TEST:])):
            (folder / f"{part}.jsonl").write_text("".join(json_text(row) + "\n" for row in chosen), encoding="utf-8")
        result: dict[str, Any] = {"pieces": args.pieces, "mini": mrrs("mini", folder / "test.jsonl", folder / "mini")}
        print("mini", result["mini"], flush=True)
        for way, changes in WAYS.items():
            out, begin = folder / way.replace(" ", "_"), time.monotonic()
            asked = Clamp3Training(
                train_jsonl=folder / "train.jsonl", init=("mini",), out=out, preset="finetune", **changes
            )
            ended = start_run(settled(asked, changes), make_alignment_task)
            result[way] = {
                "mrr": mrrs(str(out), folder / "test.jsonl", folder / "mini"), "steps": ended.progress.step,
                "seconds": round(time.monotonic() - begin, 1),
            }  # fmt: skip
            print(way, result[way], flush=True)
    print(f"written to {write_result(f'finetune_{args.pieces}', result)}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
