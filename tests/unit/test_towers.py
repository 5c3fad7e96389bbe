"""Patch embedding, pooling and the assembled model."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F

from clamp3.errors import ConfigError, DataError
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.models.towers import PatchEmbedding, masked_mean

pytestmark = pytest.mark.kernels

SIZES = {"width": 32, "n_layers": 2, "n_heads": 4, "feed_forward": 64}
CONFIG = Clamp3Config(
    text=TowerConfig(**SIZES, max_length=14, vocab_size=40, type_vocab_size=1, pad_id=1),
    symbolic=TowerConfig(**SIZES, max_length=16),
    audio=TowerConfig(**SIZES, max_length=9),
    hidden_size=24,
    patch_size=6,
    text_length=10,
    symbolic_length=16,
    audio_length=9,
)


def codes(*shape, seed=0):
    return torch.randint(0, 128, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def one_hot_product(patches, weight, bias):
    """The published computation."""
    return F.linear(F.one_hot(patches.long(), 128).flatten(2).to(weight.dtype), weight, bias)


@pytest.fixture
def embedding():
    torch.manual_seed(0)
    layer = PatchEmbedding(64, 48)
    with torch.no_grad():
        layer.bias.normal_(std=0.02)
    return layer


def test_gather_and_sum_equals_the_one_hot_product(embedding):
    patches = codes(2, 7, 64)
    patches[:, :, 20:] = 0  # pads count as code 0
    expected = one_hot_product(patches, embedding.weight, embedding.bias)
    torch.testing.assert_close(embedding(patches), expected, atol=1e-6, rtol=0)
    assert torch.equal(embedding(patches), embedding(patches.long()))


def test_gradients_equal_those_of_the_one_hot_product(embedding):
    patches = codes(2, 5, 64)
    weight, bias = (p.detach().clone().requires_grad_() for p in (embedding.weight, embedding.bias))
    one_hot_product(patches, weight, bias).square().sum().backward()
    embedding(patches).square().sum().backward()
    torch.testing.assert_close(embedding.weight.grad, weight.grad, atol=1e-5, rtol=0)
    torch.testing.assert_close(embedding.bias.grad, bias.grad, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "treat",
    [
        lambda layer: layer,
        copy.deepcopy,
        lambda layer: layer.double(),
        lambda layer: layer.to(torch.bfloat16),
        lambda layer: _reloaded(layer, assign=False),
        lambda layer: _reloaded(layer, assign=True),
    ],
    ids=["new", "copied", "double", "bfloat16", "loaded", "assigned"],
)
def test_the_weight_stays_laid_out_for_gathering(embedding, treat):
    layer = treat(embedding)
    assert tuple(layer.weight.shape) == (48, 8192)
    assert layer.weight.t().is_contiguous()
    layer(codes(1, 3, 64)).sum().backward()
    assert layer.weight.grad.stride() == layer.weight.stride()
    step = torch.optim.AdamW(layer.parameters())
    step.step()
    assert layer.weight.t().is_contiguous()


def _reloaded(layer, *, assign):
    with torch.device("meta" if assign else "cpu"):
        other = PatchEmbedding(64, 48)
    state = {name: tensor.contiguous() for name, tensor in layer.state_dict().items()}
    other.load_state_dict(state, assign=assign)
    assert torch.equal(other.weight, layer.weight)
    assert state["weight"].is_contiguous()
    return other


def test_a_code_beyond_seven_bits_is_refused(embedding):
    with pytest.raises(DataError, match="below 128, found 200"):
        embedding(torch.full((1, 1, 64), 200, dtype=torch.uint8))


def test_masked_mean_by_hand():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[1.0, 1.0], [2.0, 2.0], [6.0, 3.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert masked_mean(hidden, mask).tolist() == [[2.0, 4.0], [3.0, 2.0]]
    assert torch.equal(masked_mean(hidden[:, :2], None), hidden[:, :2].mean(1))


@pytest.fixture
def model():
    return Clamp3Model(CONFIG, generator=torch.Generator().manual_seed(1)).eval()


@pytest.mark.parametrize(
    ("modality", "inputs"),
    [
        ("text", torch.tensor([[0, 5, 6, 7, 2], [0, 9, 2, 1, 1]])),
        ("symbolic", codes(2, 5, 6)),
        ("audio", torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(2))),
    ],
    ids=["text", "symbolic", "audio"],
)
def test_vectors_do_not_depend_on_the_batch(model, modality, inputs):
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    together = model.features(modality, inputs, mask)
    assert together.shape == (2, 24)
    assert torch.equal(together, getattr(model, f"{modality}_features")(inputs, mask))
    alone = model.features(modality, inputs[1:, :3])
    torch.testing.assert_close(together[1:], alone, atol=3e-6, rtol=0)
    hidden = model.encode(modality, inputs[1:, :3])
    projection = model.get_submodule(f"{modality}_proj")
    torch.testing.assert_close(alone, projection(hidden.mean(1)), atol=1e-6, rtol=0)


def test_a_training_batch_gives_both_sides(model):
    text, music = torch.tensor([[0, 5, 2]]), codes(1, 4, 6)
    sides = model(text, None, music, None, "symbolic")
    assert torch.equal(sides[0], model.text_features(text))
    assert torch.equal(sides[1], model.symbolic_features(music))


def test_only_the_towers_of_the_configuration_are_built():
    model = Clamp3Model(dataclasses.replace(CONFIG, audio=None))
    assert {name.split("_")[0] for name in model.state_dict()} == {"text", "symbolic"}
    with pytest.raises(ConfigError, match="no audio tower; it has: text, symbolic"):
        model.audio_features(torch.zeros(1, 2, 32))
    with pytest.raises(ConfigError, match="unknown modality 'video'"):
        model.features("video", torch.zeros(1, 2, 32))


def test_random_weights_come_from_the_generator():
    def draw(seed):
        torch.manual_seed(seed)  # the global state must not matter
        return Clamp3Model(CONFIG, generator=torch.Generator().manual_seed(4)).symbolic_proj.weight

    assert torch.equal(draw(1), draw(2))


def test_patch_weights_come_from_the_generator_too():
    def draw(seed):
        torch.manual_seed(seed)
        return Clamp3Model(CONFIG, generator=torch.Generator().manual_seed(4)).symbolic_model.patch_embedding.weight

    assert torch.equal(draw(1), draw(2))
    assert draw(1).std().item() == pytest.approx(0.02, rel=0.05)


def test_configuration_survives_json():
    import json

    assert Clamp3Config.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    released = Clamp3Config.released()
    assert released.towers == ("text", "symbolic", "audio")
    assert [released.length(name) for name in released.towers] == [128, 512, 128]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "no field colour"),
        ({"text_length": 13}, "text_length 13 does not fit the 12 positions"),
        ({"symbolic_length": 17}, "symbolic_length 17 does not fit the 16"),
        ({"hidden_size": 0}, "at least 1"),
    ],
)
def test_configurations_that_make_no_model_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Clamp3Config.from_dict({**CONFIG.to_dict(), **change})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_vectors(model):
    patches, mask = codes(3, 8, 6), torch.arange(8) < torch.tensor([[8], [5], [1]])
    there = copy.deepcopy(model).cuda().symbolic_features(patches.cuda(), mask.cuda()).cpu()
    torch.testing.assert_close(there, model.symbolic_features(patches, mask), atol=1e-4, rtol=0)
