"""Dropout on a CPU: torch's in distribution, gradient and behaviour, in less time."""

import pytest
import torch
from torch import nn

from clamp3.training.device import QuickDropout, quick_dropout

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
