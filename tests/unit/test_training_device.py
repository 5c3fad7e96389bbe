"""Dropout on a CPU: torch's in distribution, gradient and behaviour, in less time; steps that wait for no device."""

import pytest
import torch
from torch import nn
from training_music import write_music, write_text_model

from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training
from clamp3.training.device import QuickDropout, make_accelerator, quick_dropout
from clamp3.training.loading import on_device

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_it_drops_the_share_asked_for_and_scales_the_rest(p):
    torch.manual_seed(0)
    hidden = torch.ones(301, 999, requires_grad=True)
    out = QuickDropout(p)(hidden)
    dropped = out == 0
    assert dropped.float().mean().item() == pytest.approx(p, abs=0.004)  # five standard deviations at p = 0.5
    torch.testing.assert_close(out[~dropped], torch.full_like(out[~dropped], 1 / (1 - p)))
    out.sum().backward()
    assert torch.equal(hidden.grad, out.detach())
    # No pattern along rows or columns, and none among the four decisions of one word.
    for share in (dropped.float().mean(0), dropped.float().mean(1)):
        assert (share - p).abs().max() < 5.5 * (p * (1 - p) / 301) ** 0.5
    flat = dropped.flatten()[: dropped.numel() // 4 * 4].view(-1, 4).float()
    assert torch.corrcoef(flat.T).sub(torch.eye(4)).abs().max() < 0.02


def test_seeds_repeat_it_and_evaluation_leaves_values_alone():
    layer, hidden = QuickDropout(0.3), torch.randn(7, 5)
    torch.manual_seed(3)
    one = layer(hidden)
    torch.manual_seed(3)
    assert torch.equal(layer(hidden), one)
    assert not torch.equal(layer(hidden), one)
    assert layer.eval()(hidden) is hidden
    assert QuickDropout(0.0)(hidden) is hidden


def test_every_dropout_of_a_model_is_replaced_in_its_place():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2), nn.Sequential(nn.Dropout(0.4)))
    names = list(model.state_dict())
    quick_dropout(model)
    assert [layer.p for layer in model.modules() if isinstance(layer, QuickDropout)] == [0.2, 0.4]
    assert list(model.state_dict()) == names


def task_of(music, out, **changes):
    settings = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "text_from_scratch": True,
                "text_length": 16, "hidden_size": 16, "eval_split": 0.0, **changes}  # fmt: skip
    config = Clamp3Training(train_jsonl=music / "train.jsonl", text_model=str(music), out=out, **settings)
    return make_alignment_task(config, make_accelerator(config))


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return write_text_model(write_music(tmp_path_factory.mktemp("music")))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "cosine", "mask": ("text", "title")},
        {"loss": "sigmoid", "distill": 1.0, "recompute": True},
        {"standardise": True},
        {"pairs": ("text-abc", "text-mtf", "abc-mtf", "text-symbolic"), "standardise": True},
    ],
)
def test_a_step_asks_the_device_for_nothing(music, tmp_path, changes):
    """Tensors on the meta device have no values: whoever wants to know one, and would wait for a GPU, fails."""
    task = task_of(music, tmp_path, **changes)
    batch = task.collate([task.train_data[0, index] for index in range(12)])
    task.module.to("meta").train()
    loss, _ = task.loss(task.module, on_device(batch, "meta"))
    loss.backward()
    assert task.module.model.text_proj.weight.grad.is_meta
    with pytest.raises((RuntimeError, NotImplementedError)):  # without lengths that are known before
        task.loss(task.module, {name: value.to("meta") for name, value in batch.items()})


def test_lengths_are_counted_before_and_rows_of_one_length_have_no_mask(music, tmp_path, monkeypatch):
    task = task_of(music, tmp_path)
    batch = task.collate([task.train_data[0, index] for index in range(12)])
    moved = on_device(batch, "cpu")
    assert moved["text_lengths"] == batch["text_mask"].sum(1).tolist()
    seen = []
    features = task.module.model.features

    def spy(tower, inputs, mask=None):
        seen.append((tower, mask))
        assert mask is None or not mask.all()
        return features(tower, inputs, mask)

    monkeypatch.setattr(task.module.model, "features", spy)
    task.module.sub_batches = 12
    task.module.eval()
    found = task.module(moved)
    assert {tower for tower, mask in seen if mask is None} == {"text", "symbolic"}
    task.module.sub_batches = 1
    whole = task.module({name: value for name, value in batch.items() if not name.endswith("_lengths")})
    for view in found:
        torch.testing.assert_close(found[view], whole[view], atol=2e-6, rtol=0)  # sums of other lengths of padding
