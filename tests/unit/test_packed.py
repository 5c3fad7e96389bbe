"""Packed products: the plain ones up to the order of their sums, in every form an input can have, never in training."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clamp3.models import packed
from clamp3.models.bert import Bert, Intermediate, suit_cpu
from clamp3.models.config import TowerConfig
from clamp3.models.packed import FrozenLinear, can_pack, pack

pytestmark = pytest.mark.kernels

TYPES = [torch.float32, torch.bfloat16]
# Inputs and outputs of every layer of a tower and of MERT (3,072 is the longest sum), and small ones of mini.
SHAPES = [(768, 768), (768, 3072), (3072, 768), (1024, 512), (192, 192), (48, 7)]
SIZES = TowerConfig(width=64, n_layers=2, n_heads=4, feed_forward=96, max_length=20)


def drawn(n_inputs, n_outputs, dtype, rows=(9,), seed=0):
    """Return inputs as a layer norm leaves them, weights as BERT draws them, and a bias, all of one type."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*rows, n_inputs, generator=generator)
    weight = 0.02 * torch.randn(n_outputs, n_inputs, generator=generator)
    return x.to(dtype), weight.to(dtype), torch.randn(n_outputs, generator=generator).to(dtype)


def assert_same(found, exact, x, weight, dtype):
    """Compare with the sums of the same numbers in float64.

    A sum of n products in float32 is rounded n times, each time by up to eps / 2 of a partial sum of some |x| |w| /
    sqrt(n); errors of either sign add up to eps / 2 |x| |w|, of which no order of the terms makes more than a few
    times as much. A result in bfloat16 is then rounded to eight bits, twice where the activation is another step.
    """
    size = x.double().norm(dim=-1, keepdim=True) * weight.double().norm(dim=1) + 1  # the bias is of size 1
    bound = 4 * torch.finfo(torch.float32).eps * size
    if dtype == torch.bfloat16:
        bound = bound + 2 * torch.finfo(dtype).eps * (exact.abs() + 1)
    assert found.dtype == dtype and found.shape == exact.shape
    assert bool(((found.double() - exact).abs() <= bound).all()), float((found.double() - exact).abs().max())


def exact_of(x, weight, bias=None):
    return F.linear(x.double(), weight.double(), None if bias is None else bias.double())


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("n_rows", [1, 9, 512, 700])
def test_products(shape, dtype, n_rows):
    x, weight, bias = drawn(*shape, dtype, (n_rows,))
    assert_same(FrozenLinear(weight, bias)(x), exact_of(x, weight, bias), x, weight, dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [(1,), (9,), (2, 84), (512,), (3, 512)], ids=str)
def test_a_weight_is_laid_out_at_its_second_use_without_changing_a_bit(shape, dtype, rows):
    x, weight, bias = drawn(*shape, dtype, rows)
    layer = FrozenLinear(weight, bias)
    first, second, third = layer(x), layer(x), layer(x)
    assert torch.equal(first, second) and torch.equal(second, third)
    assert layer._weight.layout is not torch.strided or not can_pack(dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_without_bias(dtype):
    x, weight, _ = drawn(1024, 512, dtype)
    assert_same(FrozenLinear(weight)(x), exact_of(x, weight), x, weight, dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_gelu_is_the_exact_one(dtype):
    x, weight, bias = drawn(768, 3072, dtype)
    found = FrozenLinear(3 * weight, bias, gelu=True)(x)  # wide enough that the tanh form would be seen
    exact = exact_of(x, 3 * weight, bias)
    assert float((F.gelu(exact) - F.gelu(exact, approximate="tanh")).abs().max()) > 4e-4
    assert_same(found, F.gelu(exact), x, 3 * weight, dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_plus_adds_and_leaves_what_it_is_given(dtype):
    x, weight, bias = drawn(512, 512, dtype)
    other = torch.randn(9, 512).to(dtype)
    before = other.clone()
    found = FrozenLinear(weight, bias).plus(x, other)
    assert_same(found, other.double() + exact_of(x, weight, bias), x, weight, dtype)
    assert torch.equal(other, before)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    "form",
    [
        lambda x: x[0, 0],  # one row, no batch
        lambda x: x[:1, :1],
        lambda x: x[:, ::2],
        lambda x: x.transpose(0, 1),
        lambda x: torch.cat([x, x], -1)[..., 1::2],  # every second number
        lambda x: x.flatten(0, 1)[:0],
        lambda x: x[0, 0].as_strided((5, 768), (11, 1)),  # rows that overlap, as MERT's convolutions take them
    ],
    ids=["vector", "one row", "rows skipped", "transposed", "numbers skipped", "none", "overlapping"],
)
def test_inputs_of_any_layout(form, dtype):
    x, weight, bias = drawn(768, 192, dtype, (4, 60))
    given = form(x)
    assert_same(FrozenLinear(weight, bias)(given), exact_of(given, weight, bias), given, weight, dtype)


def test_a_row_is_the_same_whatever_is_beside_it():
    x, weight, bias = drawn(768, 768, torch.float32, (300,))
    layer = FrozenLinear(weight, bias)
    whole, bound = layer(x), 1e-5  # another block of rows may sum in another order
    for n_rows in (1, 2, 17, 299):
        torch.testing.assert_close(layer(x[:n_rows]), whole[:n_rows], atol=bound, rtol=0)


def test_no_gradients_and_nothing_to_save():
    weight = nn.Parameter(torch.randn(8, 4))
    layer = FrozenLinear(weight, nn.Parameter(torch.randn(8)))
    assert not layer(torch.randn(3, 4)).requires_grad
    assert not list(layer.parameters()) and not layer.state_dict()


def test_without_the_operator_the_plain_product(monkeypatch):
    monkeypatch.setattr(packed, "can_pack", lambda dtype=torch.float32: False)
    x, weight, bias = drawn(96, 48, torch.float32)
    other = torch.randn(9, 48)
    assert torch.equal(FrozenLinear(weight, bias)(x), F.linear(x, weight, bias))
    assert torch.equal(FrozenLinear(weight, bias, gelu=True)(x), F.gelu(F.linear(x, weight, bias)))
    assert torch.equal(FrozenLinear(weight, bias).plus(x, other), other + F.linear(x, weight, bias))
    encoder = Bert(SIZES).eval()
    suit_cpu(encoder)
    assert not any(isinstance(part, FrozenLinear) for part in encoder.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_types_that_are_not_packed(dtype):
    assert not can_pack(dtype)
    layer = nn.Sequential(nn.Linear(4, 4, dtype=dtype))
    pack(layer)
    assert type(layer[0]) is nn.Linear


@pytest.mark.skipif("not __import__('clamp3.models.packed').models.packed.can_pack()", reason="nothing is packed here")
class TestAPackedNetwork:
    def test_weights_are_not_held_twice(self):
        encoder = Bert(SIZES).eval()
        held = [weakref.ref(part.weight) for part in encoder.encoder.modules() if isinstance(part, nn.Linear)]
        suit_cpu(encoder)
        gc.collect()
        assert len(held) == 12 and not any(weight() is not None for weight in held)
        assert not any(isinstance(part, nn.Linear) for part in encoder.encoder.modules())

    def test_the_same_hidden_states(self):
        torch.manual_seed(3)
        encoder = Bert(SIZES).eval()
        vectors, mask = torch.randn(3, 15, 64), torch.arange(15) < torch.tensor([15, 4, 1])[:, None]
        with torch.inference_mode():
            before = encoder(inputs_embeds=vectors, attention_mask=mask)
            suit_cpu(encoder)
            after = encoder(inputs_embeds=vectors, attention_mask=mask)
        torch.testing.assert_close(after[mask], before[mask], atol=1e-5, rtol=0)

    def test_gelu_is_part_of_the_wide_layer_only(self):
        encoder = Bert(SIZES).eval()
        suit_cpu(encoder)
        layer = encoder.encoder.layer[0]
        assert layer.intermediate._gelu and not layer.output.dense._gelu and not layer.attention.self.query._gelu

    def test_layers_of_other_classes_stay(self):
        class Adapted(nn.Linear):
            """A layer that does more than a product."""

        network = nn.Sequential(Adapted(4, 4), nn.Linear(4, 4), Intermediate(4, 4))
        pack(network)
        assert [type(part) for part in network] == [Adapted, FrozenLinear, Intermediate]
        assert isinstance(network[2].dense, FrozenLinear) and not network[2].dense._gelu  # not named in ``fused``


def test_training_is_never_packed(tiny_weights, tmp_path):
    from clamp3.training.build import alignment_model
    from clamp3.training.config import Clamp3Training

    sizes = {"max_patches": 12, "text_length": 8, "out": tmp_path}
    model, _ = alignment_model(Clamp3Training(init=(str(tiny_weights),), freeze_text=True, **sizes))
    assert not any(isinstance(part, FrozenLinear) for part in model.modules())
    assert sum(isinstance(part, nn.Linear) for part in model.modules()) > 12
    assert any(parameter.requires_grad for parameter in model.parameters())
