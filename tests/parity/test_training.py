"""Training against the released code: golden/training/golden.json, measured at commit 9016d2b in float32 on a CPU.

Weights are drawn tensor by tensor from their names, so no weight file is needed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from seeded import seeded

from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.models.weights import save_safetensors
from clamp3.training.loss import contrastive_loss

pytestmark = pytest.mark.kernels

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "training/golden.json").read_text(encoding="utf-8"))
TINY = GOLDEN / "model/tiny_xlmr"


def seeded_model():
    text = TowerConfig.from_transformers(json.loads((TINY / "config.json").read_text(encoding="utf-8")))
    symbolic = TowerConfig(width=96, n_layers=2, n_heads=4, feed_forward=192, max_length=512, dropout=0.0)
    fields = {**text.to_dict(), "dropout": 0.0}
    model = Clamp3Model(Clamp3Config(text=TowerConfig(**fields), symbolic=symbolic, hidden_size=96))
    model.load_state_dict({name: seeded(name, t.shape) for name, t in model.state_dict().items()})
    return model


def test_loss_and_gradients():
    rng = np.random.Generator(np.random.Philox(11))
    a, b = (torch.from_numpy(rng.standard_normal((8, 16), dtype=np.float32)).requires_grad_() for _ in range(2))
    loss = contrastive_loss(a, b)
    loss.backward()
    expected = EXPECTED["clip_loss"]
    assert loss.item() == pytest.approx(expected["loss"], abs=1e-5)
    assert a.grad.abs().sum().item() == pytest.approx(expected["grad_a_sum"], abs=1e-4)
    assert b.grad.abs().sum().item() == pytest.approx(expected["grad_b_sum"], abs=1e-4)
    assert a.grad[0, 0].item() == pytest.approx(expected["grad_a_00"], abs=1e-6)


@pytest.mark.parametrize("changes", [[], ["--sub_batches", "1", "--grad_cache_chunk", "3"]])
def test_losses_of_the_released_code(tmp_path, monkeypatch, changes):
    """The script itself, from a JSONL, files and a weight file; the order of a batch does not matter to its loss."""
    monkeypatch.syspath_prepend(str(ROOT / "code"))
    import train_clamp3_symbolic

    trace = EXPECTED["train_trace"]
    rows = []
    for source, text in zip(trace["sources"], trace["texts"], strict=True):
        name = f"{Path(source).stem}.abc"
        (tmp_path / name).write_bytes((GOLDEN / "training" / name).read_bytes())
        rows.append(json.dumps({"id": source, "analysis": text, "filepaths": [name]}))
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    model = seeded_model()
    save_safetensors(model, model.config, tmp_path / "start.safetensors")
    flags = {"train_jsonl": tmp_path / "train.jsonl", "init": tmp_path / "start.safetensors", "text_model": TINY,
             "out": tmp_path / "run", "batch_size": 8, "epochs": 8, "learning_rate": 1e-3, "warmup_steps": 0,
             "log_every": 1, "eval_split": 0, "dropout": 0, "attention_dropout": 0, "instrument_removal": 0,
             "save_every": 0, "mixed_precision": "no"}  # fmt: skip
    arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    assert train_clamp3_symbolic.main([*arguments, "--no-text_dropout", *changes]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert losses == pytest.approx(trace["losses"][:8], abs=1e-4)
