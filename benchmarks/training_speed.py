"""Speed of alignment training against the released way of computing a step.

    python benchmarks/training_speed.py
    python benchmarks/training_speed.py --steps 2 --batch_size 8          # a smoke test, not a measurement
    python benchmarks/training_speed.py --device cuda --full_size         # XLM-R base, M3's sizes, batch 256, bf16

Both ways train the same model from the same weights on the same made-up pieces, whose lengths in patches are log-normal
(median 180, cropped at 512). Ours is the Trainer as the scripts run it. The reference pads every piece to 512 patches
and every text to 128 tokens, multiplies one-hot vectors of 8,192 numbers per patch with the patch embedding, drops out
by torch's kernel, and steps an unfused AdamW, as the released scripts do. Data are prepared in the loop by both; the
packed patches too serve both, where the released scripts encode each file anew. Dropout is the default of the scripts,
of the attention weights too. Writes
benchmarks/results/training_speed.<vendor>.json; at full size also the audio tower is measured, with memory and the
share of the GPU's bf16 peak (--peak_tflops, dense).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import by_turns, write_result
from made_up import write_tokenizer

from clamp3.cli import EXIT_OK, parser_for, run

PATCHES, TOKENS, VOCABULARY = 512, 128, 5000
SMALL = {"text": (192, 3, 20_000), "symbolic": (256, 4, 0), "audio": (256, 4, 0)}  # width, layers, words
FULL = {"text": (768, 12, 250_002), "symbolic": (768, 12, 0), "audio": (768, 12, 0)}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--full_size", action="store_true", help="the published sizes in place of small ones")
    parser.add_argument("--batch_size", type=int, help="pieces per step (default: 32; 256 at full size)")
    parser.add_argument("--steps", type=int, default=10, help="steps measured, after two that are not (default: 10)")
    parser.add_argument(
        "--peak_tflops", type=float, default=989.0, help="dense bf16 peak of the GPU (default: H100, H200)"
    )
    parser.add_argument("--compile", action="store_true", help="compile the layers of our way")
    return parser


def write_data(folder: Path, n_pieces: int, width: int, words: int) -> None:
    """Write scores of log-normal length, audio vectors, texts of some 60 words, a tokenizer and the text sizes."""
    import numpy as np

    rng = random.Random(0)
    known = [f"w{i}" for i in range(VOCABULARY)]
    rows = []
    for i in range(n_pieces):
        bars = min(2 * PATCHES, max(8, round(rng.lognormvariate(math.log(180), 0.8))))
        tune = "\n".join("".join(rng.choice("CDEFGABcdefgab") for _ in range(24)) + "|" for _ in range(bars))
        (folder / f"{i}.abc").write_text(f"L:1/8\nM:4/4\nK:C\nV:1\n{tune}\n")
        np.save(folder / f"{i}.npy", np.full((1, rng.randint(20, 126), width), i / n_pieces, np.float16))
        rows.append({"id": i, "analysis": " ".join(rng.choices(known, k=rng.randint(20, 110))),
                     "filepaths": [f"{i}.abc", f"{i}.npy"]})  # fmt: skip
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_tokenizer(folder, known)
    text_width, layers, _ = SMALL["text"] if words == SMALL["text"][2] else FULL["text"]
    sizes = {"model_type": "xlm-roberta", "hidden_size": text_width, "num_hidden_layers": layers,
             "num_attention_heads": text_width // 64, "intermediate_size": 4 * text_width,
             "max_position_embeddings": 514, "vocab_size": words, "type_vocab_size": 1, "pad_token_id": 1}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(sizes))


def flops(tower: Any, lengths: list[int], patch_inputs: int = 0) -> float:
    """Return the arithmetic of forward and backward pass of sequences: matrix products of layers and attention."""
    width, n_tokens = tower.width, sum(lengths)
    layer = 4 * width * width + 2 * width * tower.feed_forward
    products = 2 * n_tokens * (tower.n_layers * layer + patch_inputs * width)
    attention = 4 * width * tower.n_layers * sum(length * length for length in lengths)
    return 3.0 * (products + attention)


def timed(ways: list[Callable[[], None]], n_steps: int, device: str) -> list[float]:
    """Return the median seconds of a step of each way, after two steps that do not count."""
    import torch

    settle = torch.cuda.synchronize if device == "cuda" else lambda: None
    by_turns(ways, 2, settle=settle)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return [statistics.median(found) for found in by_turns(ways, n_steps, settle=settle)]


class Ours:
    """The Trainer's own steps on the loader's batches."""

    def __init__(self, config: Any) -> None:
        from clamp3.training.alignment import make_alignment_task
        from clamp3.training.loading import make_loader
        from clamp3.training.loop import Trainer, make_accelerator, seed_everything

        self.accelerator = make_accelerator(config)
        seed_everything(config.seed)
        self.task = make_alignment_task(config, self.accelerator)
        self.trainer = Trainer(self.task, config, self.accelerator)
        self.task.train()
        pin = self.accelerator.device.type == "cuda"
        self.load = lambda epoch: make_loader(
            self.task, self.task.batches(epoch, 0, 1), epoch, workers=config.workers, pin=pin
        )
        self.batches = self._forever()
        self.lengths: dict[str, list[int]] = {}

    def _forever(self) -> Any:
        epoch = 0
        while True:
            yield from self.load(epoch)
            epoch += 1

    def __call__(self) -> None:
        """Do one step."""
        batch = next(self.batches)
        for view in self.task.train_data.views:
            self.lengths.setdefault(view, []).extend(batch[f"{view}_mask"].sum(1).tolist())
        self.trainer.step([{name: value.to(self.accelerator.device) for name, value in batch.items()}])


class Reference:
    """A plain loop: everything padded to the window, one-hot patches, one optimizer kernel per operation."""

    def __init__(self, ours: Ours) -> None:
        import copy

        import torch

        self.ours, self.device = ours, ours.accelerator.device
        self.model: Any = copy.deepcopy(ours.task.module.model).to(self.device)
        for layer in self.model.modules():
            if hasattr(layer, "dropout") and isinstance(layer.dropout, torch.nn.Dropout):
                layer.dropout = torch.nn.Dropout(layer.dropout.p)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, foreach=False, fused=False)
        self.batches = ours._forever()

    def __call__(self) -> None:
        """Do one step."""
        import torch
        import torch.nn.functional as F

        from clamp3.training.loss import contrastive_loss

        batch = {name: value.to(self.device) for name, value in next(self.batches).items()}
        with self.ours.accelerator.autocast():
            ids = F.pad(batch["text"], (0, TOKENS - batch["text"].shape[1]), value=1)
            text = self.model.text_features(ids, F.pad(batch["text_mask"], (0, TOKENS - batch["text_mask"].shape[1])))
            missing = PATCHES - batch["symbolic"].shape[1]
            patches = F.pad(batch["symbolic"], (0, 0, 0, missing))
            mask = F.pad(batch["symbolic_mask"], (0, missing))
            tower: Any = self.model.symbolic_model
            one_hot = F.one_hot(patches.long(), 128).flatten(2).to(torch.float32)  # (B, 512, 8192)
            inputs = F.linear(one_hot, tower.patch_embedding.weight, tower.patch_embedding.bias)
            hidden = tower.base(inputs_embeds=inputs, attention_mask=mask)
            music = self.model.pool("symbolic", hidden, mask)
        contrastive_loss(text, music).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else the trainer takes the GPU
    import torch

    from clamp3.training.config import Clamp3Training

    sizes = FULL if args.full_size else SMALL
    batch_size = args.batch_size or (256 if args.full_size else 32)
    result: dict[str, Any] = {"sizes": sizes, "batch_size": batch_size, "steps": args.steps, "device": args.device}
    if args.device == "cuda":
        result["gpu"] = torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, batch_size * (args.steps + 2), sizes["audio"][0], sizes["text"][2])
        width, layers, _ = sizes["symbolic"]
        common = {
            "train_jsonl": folder / "train.jsonl", "text_model": name, "text_from_scratch": True, "eval_split": 0.0,
            "width": width, "n_layers": layers, "hidden_size": width, "audio_width": width, "audio_layers": layers,
            "batch_size": batch_size, "epochs": 1000, "text_dropout": False, "save_every": 0,
            "log_every": 10**6, "compile": args.compile, "workers": 8 if args.device == "cuda" else 0,
        }  # fmt: skip
        ways = (
            {"symbolic": ("text-symbolic",), "audio": ("text-audio",)}
            if args.full_size
            else {"symbolic": ("text-symbolic",)}
        )
        for kind, pairs in ways.items():
            ours = Ours(Clamp3Training(**common, out=folder / kind, pairs=pairs))
            compare = kind == "symbolic" and not args.full_size
            seconds, *other = timed([ours, Reference(ours)] if compare else [ours], args.steps, args.device)
            found = {"step_sec": round(seconds, 4), "pieces_per_sec": round(batch_size / seconds, 2)}
            config: Any = ours.task.module.model.config
            spent = sum(flops(config.tower(view), lengths) for view, lengths in ours.lengths.items())
            found["tflops"] = round(spent / (args.steps + 2) / seconds / 1e12, 3)
            if args.device == "cuda":
                found["share_of_bf16_peak"] = round(found["tflops"] / args.peak_tflops, 4)
                found["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
            result[kind] = {"ours": found}
            print(f"{kind:9} ours       {json.dumps(found)}", flush=True)
            if compare:
                slow = {"step_sec": round(other[0], 4), "pieces_per_sec": round(batch_size / other[0], 2)}
                result[kind]["reference"] = slow
                result[kind]["times_faster"] = round(found["pieces_per_sec"] / slow["pieces_per_sec"], 2)
                print(f"{kind:9} reference  {json.dumps(slow)}: {result[kind]['times_faster']} times", flush=True)
            del ours
    name = "training_speed" + ("_full" if args.full_size else "") + ("_quick" if args.steps < 10 else "")
    print(f"written to {write_result(name, result, device=args.device)}")
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
