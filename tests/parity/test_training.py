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

from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.models.tokenizer import load_tokenizer
from clamp3.models.towers import Clamp3Model
from clamp3.training.clamp3_task import Clamp3Task
from clamp3.training.config import Clamp3Training
from clamp3.training.data import PairDataset, Record
from clamp3.training.encoder import PairEncoder
from clamp3.training.loop import Trainer, make_accelerator
from clamp3.training.loss import contrastive_loss
from clamp3.training.pack import open_pack

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


@pytest.mark.parametrize("sub_batches", [1, 3])
def test_losses_of_the_released_code(tmp_path, sub_batches):
    trace = EXPECTED["train_trace"]
    paths = [GOLDEN / "training" / f"{Path(source).stem}.abc" for source in trace["sources"]]
    texts = trace["texts"]
    records = [Record(f"{i}", {"analysis": text}, (("abc", i),)) for i, text in enumerate(texts)]
    data = PairDataset(
        records, open_pack(paths, tmp_path), load_tokenizer(TINY), limit=512, text_length=128, seed=0,
        text_dropout=False, instrument_removal=0.0, random_crops=False,
    )  # fmt: skip
    config = Clamp3Training(out=tmp_path, batch_size=8, epochs=8, learning_rate=1e-3, warmup_steps=0, log_every=1,
                            eval_split=0.0, dropout=0.0, save_every=0, mixed_precision="no")  # fmt: skip
    task = Clamp3Task(config, PairEncoder(seeded_model(), sub_batches=sub_batches), data, None)
    Trainer(task, config, make_accelerator(config)).fit()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert losses == pytest.approx(trace["losses"][:8], abs=1e-4)
