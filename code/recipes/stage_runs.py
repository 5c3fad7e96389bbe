"""The stages one after the other: train, check what was frozen, measure, write down."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from clamp3.cli import parser_for
from clamp3.errors import ConfigError
from clamp3.formats.tables import json_text, read_json
from clamp3.jobs.atomic import write_text
from clamp3.jobs.steps import Step, call, run_steps
from clamp3.models.checkpoint import open_checkpoint
from clamp3.models.registry import resolve
from clamp3.training.config import AudioTraining, Clamp3Training
from clamp3.training.flags import add_flags, from_flags
from clamp3.training.launch import OUTCOME
from clamp3.training.stages import ALL_PAIRS, Stage, check_frozen, plan
from recipes.stage_report import as_markdown, measure

CODE = Path(__file__).resolve().parents[1]
NO_FILE = ("xlmr", "none")  # the text tower is --text_model's; nothing to start from


def run_stages(args: argparse.Namespace) -> int:
    """Do what ``stages.py`` was asked for; return the exit code.

    Raises
    ------
    ConfigError
        If a flag of any stage is wrong; nothing is trained then.
    DataError
        If a trainer fails, or changes what is frozen.
    """
    stages = plan(args.order, () if args.pairs is None else tuple(args.pairs) or ALL_PAIRS)
    unknown = sorted({name for name, _ in args.stage} - {stage.name for stage in stages})
    if unknown:
        raise ConfigError(f"--stage {unknown[0]}: the stages are {', '.join(stage.name for stage in stages)}.")
    steps = [_step(stage, stages, args) for stage in stages]
    args.work_dir.mkdir(parents=True, exist_ok=True)
    test = args.test_jsonl or args.eval_jsonl
    rows: list[dict[str, Any]] = []
    for name, row, seconds in run_steps(args.work_dir / "stages.json", steps):
        rows.append(row)
        write_text(args.work_dir / "report.json", json_text(rows, indent=1) + "\n")
        write_text(args.work_dir / "report.md", as_markdown(args.order, test, rows))
        print(f"{name}: {seconds:.0f} s", flush=True)
    print(as_markdown(args.order, test, rows))
    return 0


def starts(stage: Stage, stages: list[Stage], args: argparse.Namespace) -> list[Path]:
    """Return the files a stage starts from: the stage before, or --init; M3 joins where scores are first trained."""
    names = [part for name in args.init for part in ([name] if Path(name).exists() else name.split("+"))]
    files = [resolve(name) for name in names if name not in NO_FILE]
    pretrained = [file for file in files if not open_checkpoint(file).family.joint]
    first = next((other for other in stages if other.music == "symbolic"), None)
    before = [args.work_dir / stage.after / "best.safetensors"] if stage.after else []
    aligned = before or [file for file in files if file not in pretrained]
    return aligned + (pretrained if stage is first else [])


def trainer_flags(stage: Stage, stages: list[Stage], args: argparse.Namespace) -> list[str]:
    """Return the flags of a stage's trainer, the user's last."""
    init = [str(file) for file in starts(stage, stages, args)]
    user = args.pair if stage.pairs else getattr(args, stage.music)
    return [
        "--train_jsonl", str(args.train_jsonl), "--eval_jsonl", str(args.eval_jsonl),
        "--out", str(args.work_dir / stage.name), "--pack", str(args.work_dir / "pack"), "--resume", "auto",
        *(["--init", *init] if init else []),
        "--no-freeze_text" if stage.text else "--freeze_text", *(["--pairs", *stage.pairs] if stage.pairs else []),
        *args.flags, *shlex.split(user),
        *(flag for name, flags in args.stage if name == stage.name for flag in shlex.split(flags)),
    ]  # fmt: skip


def train(stage: Stage, flags: list[str], launch: str) -> None:
    """Start the trainer of a stage and wait for it."""
    script = f"train_clamp3_{stage.music}.py"
    call([*(shlex.split(launch) or [sys.executable]), str(CODE / script), *flags], f"{script} ({stage.name})")


def _step(stage: Stage, stages: list[Stage], args: argparse.Namespace) -> Step:
    import config as released

    flags = trainer_flags(stage, stages, args)
    kind = AudioTraining if stage.music == "audio" else Clamp3Training
    settings = from_flags(kind, add_flags(parser_for(None), kind, released).parse_args(flags))
    test = args.test_jsonl or args.eval_jsonl

    def run() -> dict[str, Any]:
        from clamp3.embedding.clamp3 import Clamp3

        train(stage, flags, args.launch)
        outcome = read_json(settings.out / OUTCOME, dict[str, Any])
        if outcome["reason"] == "stopped":
            raise KeyboardInterrupt
        weights = settings.out / "best.safetensors"
        kept = {tower: None for start in starts(stage, stages, args) for tower in
                check_frozen(start, weights, stage.trained)}  # fmt: skip
        model = Clamp3.from_pretrained(weights)
        return {"stage": stage.name, "trains": list(stage.trained), "frozen": list(kept), "pairs": list(stage.pairs),
                **outcome, "weights": str(weights), "retrieval": measure(model, test)}  # fmt: skip

    return Step(stage.name, {"flags": flags, "test_jsonl": str(test)}, run)
