r"""How exact training is: over numbers of processes, and over a stop in the middle, per option.

    python benchmarks/exactness.py                        # 1, 2 and 4 processes; some minutes on two cores
    python benchmarks/exactness.py --ranks 1 2 --options plain standardise --seeds 3

Table 1: the same global batch of 8 pieces on W processes (gloo), 8 steps without dropout: the largest difference of a
logged loss, and of a weight, to one process. Rounding alone makes them 1e-6 to 2e-5, as sums come in another order.
Table 2: with dropout, stopped by SIGTERM in the middle of an epoch and gone on with: how many tensors and losses are
not the same, bit for bit, as without the stop; 0 is expected. ``--seeds N`` adds N combinations of options, drawn at
random. Towers and data are small, in float32 unless an option says otherwise. Writes
benchmarks/results/exactness.<vendor>.json.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import write_result

from clamp3.cli import EXIT_OK, parser_for, run

ROOT = Path(__file__).resolve().parents[1]
STEPS, STOP = 8, 3
SMALL = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 16, "warmup_steps": 2, "log_every": 1, "epochs": 99,
         "learning_rate": 1e-3, "text_from_scratch": True, "text_length": 16, "hidden_size": 16, "eval_split": 0.2,
         "save_every": 0, "max_steps": STEPS}  # fmt: skip
MUSIC = ("text-abc", "text-mtf", "abc-mtf")
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "workers": {"workers": 1},
    "accumulate": {"accumulate": 2},
    "grad cache": {"grad_cache_chunk": 3},
    "cosine loss": {"loss": "cosine"},
    "sigmoid loss": {"loss": "sigmoid"},
    "pairs": {"pairs": MUSIC},
    "clipping": {"max_grad_norm": 1.0},
    "cosine schedule": {"schedule": "cosine"},
    "bf16": {"mixed_precision": "bf16"},
    "standardise": {"standardise": True},
    "standardise, pairs": {"standardise": True, "pairs": MUSIC},
    "mixing": {"more_jsonl": ("more.jsonl",), "mix": (1, 3)},
    "mask": {"mask": ("text", "music", "composer")},
    "near, by field": {"near": "composer", "near_group": 3},
    "near, by the model": {"near": "current", "near_group": 3},
    "moving average": {"ema": 0.9},
    "recompute": {"recompute": True},
    "distill": {"distill": 0.5},
    "rates of towers": {"tower_rates": ("text=1e-4",), "decay_norms": False},
    "last layers": {"train_layers": ("text=0", "symbolic=1")},
    "all at once": {"grad_cache_chunk": 3, "accumulate": 3, "workers": 1, "mixed_precision": "bf16", "loss": "sigmoid",
                    "schedule": "cosine", "max_grad_norm": 1.0},
}  # fmt: skip
# What `drawn` draws from.
CHOICES: dict[str, tuple[Any, ...]] = {
    "batch_size": (4, 6, 8),
    "grad_cache_chunk": (0, 0, 3),
    "accumulate": (1, 2, 3),
    "workers": (0, 1),
    "mixed_precision": ("no", "bf16"),
    "loss": ("infonce", "cosine", "sigmoid"),
    "schedule": ("constant", "cosine"),
    "max_grad_norm": (0.0, 1.0),
    "pairs": ((), MUSIC),
    "sub_batches": (1, 4),
    "eval_every": (0, 2),
    "mix": ((), (1, 3)),
    "mask": (("none",), ("text", "music", "composer")),
    "near": ("", "composer", "current"),
    "ema": (0.0, 0.9),
    "recompute": (False, True),
    "distill": (0.0, 0.5),
    "tower_rates": ((), ("text=1e-4",)),
    "decay_norms": (True, False),
    "train_layers": ((), ("text=0", "symbolic=1")),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4], help="numbers of processes (default: 1 2 4)")
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="rows (default: all)")
    parser.add_argument("--seeds", type=int, default=0, help="combinations drawn at random, for table 2 (default: 0)")
    return parser


def drawn(seed: int) -> dict[str, Any]:
    """Return a combination of options."""
    rng = random.Random(seed)
    found = {name: rng.choice(values) for name, values in CHOICES.items()}
    return found | ({"more_jsonl": ("more.jsonl",)} if found["mix"] else {})


def write_more(data: Path) -> None:
    """Write a second JSONL, of other pieces by name, and give all records a field that several share.

    Parameters
    ----------
    data : Path
        Folder with train.jsonl.
    """
    from clamp3.formats.tables import json_text, lines_in, parse_json

    rows = [parse_json(line) for _, line in lines_in(data / "train.jsonl")]
    for at, row in enumerate(rows):
        row["composer"] = f"composer {at % 5}"
    more = [{**row, "id": f"more {at}"} for at, row in enumerate(rows[::2])]
    for name, part in (("train.jsonl", rows), ("more.jsonl", more)):
        (data / name).write_text("".join(json_text(row) + "\n" for row in part), encoding="utf-8")


def train(data: Path, out: Path, stop: int = 0, **changes: Any) -> None:
    """Train a small model; with ``stop``, ask for the end after so many steps, and go on.

    Parameters
    ----------
    data : Path
        Folder with train.jsonl and the text model.
    out : Path
        Folder of the run.
    stop : int
    **changes
        Settings beside `SMALL`.
    """
    from accelerate.state import AcceleratorState

    from clamp3.training.alignment import make_alignment_task
    from clamp3.training.config import Clamp3Training
    from clamp3.training.loop import Trainer, start_run

    AcceleratorState._reset_state()  # it takes one precision per process
    settings = {**SMALL, "train_jsonl": data / "train.jsonl", "text_model": str(data), "out": out, **changes}
    settings["more_jsonl"] = tuple(data / name for name in settings.get("more_jsonl", ()))
    step = Trainer.step

    def asked(self: Trainer, batches: Any) -> Any:
        if self.progress.step == stop - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batches)

    if stop:
        Trainer.step = asked  # type: ignore[method-assign]
        try:
            ended = start_run(Clamp3Training(**settings), make_alignment_task)
        finally:
            Trainer.step = step  # type: ignore[method-assign]
        assert (ended.reason, ended.progress.step) == ("stopped", stop)
        settings["resume"] = "auto"
    start_run(Clamp3Training(**settings), make_alignment_task)
    AcceleratorState._reset_state()


def differing(one: Path, other: Path) -> list[str]:
    """Return the tensors of two runs' weights and optimizers, and the steps' losses, that are not equal bit for bit."""
    import torch

    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (one, other)]
    found = [name for name, tensor in states[0]["model"].items() if not torch.equal(tensor, states[1]["model"][name])]
    found += [f"average of {name}" for name, tensor in states[0].get("averages", {}).items()
              if not torch.equal(tensor, states[1]["averages"][name])]  # fmt: skip
    moments = [state["optimizer"]["state"] for state in states]
    found += [f"{kind} {number}" for number, kinds in moments[0].items() for kind, tensor in kinds.items()
              if not torch.equal(tensor, moments[1][number][kind])]  # fmt: skip
    losses = [_losses(folder) for folder in (one, other)]
    return found + [f"loss of step {step}" for step in losses[0] if losses[0][step] != losses[1].get(step)]


def _losses(out: Path) -> dict[int, float]:
    from clamp3.formats.tables import lines_in, parse_json

    rows = [parse_json(line) for _, line in lines_in(out / "metrics.jsonl")]
    return {row["step"]: row["loss"] for row in rows if row["kind"] == "train"}


def distance(one: Path, other: Path) -> tuple[float, float]:
    """Return the largest difference of a loss and of a weight between two runs."""
    import torch

    weights = [torch.load(folder / "last.pt", weights_only=True)["model"] for folder in (one, other)]
    losses = [_losses(folder) for folder in (one, other)]
    assert losses[0].keys() == losses[1].keys()
    return (
        max(abs(losses[0][step] - losses[1][step]) for step in losses[0]),
        max(float((tensor.double() - weights[1][name].double()).abs().max()) for name, tensor in weights[0].items()),
    )


def one_rank(rank: int, world_size: int, port: int, folder: Path, cases: dict[str, dict[str, Any]]) -> None:
    """Run all cases as one of several processes."""
    import torch

    sys.path.insert(0, str(ROOT / "code"))
    torch.set_num_threads(1)
    if world_size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size),
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    logging.disable(logging.WARNING)  # a small set, many times
    for name, changes in cases.items():
        train(folder / "data", folder / str(world_size) / name, **changes)


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch.multiprocessing as processes

    sys.path.insert(0, str(ROOT / "tests/unit"))
    from training_music import write_music, write_text_model

    result: dict[str, Any] = {"steps": STEPS, "ranks": {}, "stop": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        write_text_model(write_music(folder / "data"))
        write_more(folder / "data")
        combined = {f"drawn {seed}": drawn(seed) for seed in range(args.seeds)}
        for world_size in args.ranks:
            cases: dict[str, dict[str, Any]] = {}
            for option in args.options:
                changes = {"batch_size": 8 // world_size, **OPTIONS[option]}
                cases[option] = {"dropout": 0.0, "attention_dropout": 0.0, **changes}
                cases[f"{option}.whole"], cases[f"{option}.stopped"] = changes, {**changes, "stop": STOP}
            for option, changes in combined.items():
                changes = {**changes, "batch_size": max(2, changes["batch_size"] // world_size)}
                cases[f"{option}.whole"], cases[f"{option}.stopped"] = changes, {**changes, "stop": STOP}
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            processes.spawn(one_rank, args=(world_size, port, folder, cases), nprocs=world_size)
            here, alone = folder / str(world_size), folder / str(args.ranks[0])
            for option in [*args.options, *combined]:
                changed = differing(here / f"{option}.whole", here / f"{option}.stopped")
                result["stop"].setdefault(option, {})[world_size] = changed
                print(f"{option:20} {world_size} processes, stopped: {len(changed)} tensors differ", flush=True)
                if option in args.options and world_size != args.ranks[0]:
                    loss, weight = distance(alone / option, here / option)
                    result["ranks"].setdefault(option, {})[world_size] = {"loss": loss, "weight": weight}
                    print(f"{option:20} {world_size} processes: loss {loss:.1e}, weight {weight:.1e}", flush=True)
    print(f"written to {write_result('exactness', result)}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
