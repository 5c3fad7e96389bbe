"""The mel front end as a property of a checkpoint."""

import json

import pytest
import torch

from clamp3.errors import ConfigError, WeightsError
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, FrontEndConfig, TowerConfig
from clamp3.models.front_end import MelFrontEnd
from clamp3.models.weights import load_model, save_safetensors

pytestmark = pytest.mark.kernels

TOWER = {"width": 32, "n_layers": 1, "n_heads": 4, "feed_forward": 64, "max_length": 9}
FRONT = FrontEndConfig("mel", n_bins=16, n_frames=12, channels=24)
CONFIG = Clamp3Config(audio=TowerConfig(**TOWER), hidden_size=8, audio_length=9, front_end=FRONT)


def chunks(*shape):
    return torch.randn(*shape, 16 * 12, generator=torch.Generator().manual_seed(1))


def model_of(config, seed=0):
    return Clamp3Model(config, generator=torch.Generator().manual_seed(seed)).eval()


def test_a_chunk_depends_on_no_other_chunk_and_frames_are_read_in_order():
    front = MelFrontEnd(FRONT, 32)
    front.draw(torch.Generator().manual_seed(0))
    given = chunks(3, 5)
    out = front(given)
    assert out.shape == (3, 5, 32)
    torch.testing.assert_close(front(given[1:2, 3:4])[0, 0], out[1, 3], atol=1e-6, rtol=0)
    # By hand: the convolution of one chunk as a (bins, frames) picture, normalised over channels, then GELU.
    picture = given[1, 3].reshape(12, 16).t()[None]
    for conv, norm in zip(front.convs, front.norms, strict=True):
        moved = torch.nn.functional.conv1d(picture, conv.weight, conv.bias, stride=2, padding=conv.weight.shape[2] // 2)
        centred = (moved - moved.mean(1, keepdim=True)) / (moved.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        picture = torch.nn.functional.gelu(centred * norm.weight[:, None] + norm.bias[:, None])
    torch.testing.assert_close(front.output(picture.mean(2))[0], out[1, 3], atol=1e-5, rtol=0)


def test_the_model_applies_it_and_draws_it_from_the_generator():
    model, again, other = model_of(CONFIG), model_of(CONFIG), model_of(CONFIG, seed=1)
    assert CONFIG.feature_width == 192
    features = model.audio_features(chunks(2, 5))
    assert features.shape == (2, 8) and features.isfinite().all()
    assert torch.equal(features, again.audio_features(chunks(2, 5)))
    assert not torch.equal(features, other.audio_features(chunks(2, 5)))
    through = model.audio_model(inputs_embeds=model.audio_front(chunks(2, 5)), attention_mask=None)
    torch.testing.assert_close(model.encode("audio", chunks(2, 5)), through)


def test_it_travels_in_the_checkpoint(tmp_path):
    model = model_of(CONFIG)
    path = tmp_path / "a.safetensors"
    save_safetensors(model, CONFIG, path)
    loaded = load_model(path, towers=("audio",))
    assert loaded.config == CONFIG
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.model.state_dict().items())
    # Mapped weights are aligned otherwise than those in memory, so that another kernel may sum them: rounding differs.
    expected = model.audio_features(chunks(1, 4))
    torch.testing.assert_close(loaded.model.audio_features(chunks(1, 4)), expected, atol=1e-6, rtol=0)
    assert Clamp3Config.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG


def test_absent_tensors_of_it_are_an_error(tmp_path):
    plain = Clamp3Config(audio=CONFIG.audio, hidden_size=8, audio_length=9)
    save_safetensors(model_of(plain), CONFIG, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"missing \(audio_front"):
        load_model(tmp_path / "a.safetensors", towers=("audio",))


def test_mert_is_the_default_and_has_no_module():
    old = {"audio": TOWER, "hidden_size": 8, "audio_length": 9}
    config = Clamp3Config.from_dict(old)
    assert config.front_end.kind == "mert" and config.feature_width == 32
    assert not [name for name in model_of(config).state_dict() if "front" in name]
    assert Clamp3Config.released().feature_width == 768


def test_minis_planned_sizes():
    tower = TowerConfig(width=192, n_layers=2, n_heads=3, feed_forward=512, max_length=128)
    config = Clamp3Config(audio=tower, hidden_size=256, front_end=FrontEndConfig("mel"))
    assert config.feature_width == 6656
    assert sum(p.numel() for p in Clamp3Model(config).parameters()) == pytest.approx(1.07e6, rel=0.02)


@pytest.mark.parametrize(
    ("values", "match"),
    [({"kind": "cqt"}, "mert, mel"), ({"kernels": (3,)}, "one number per"), ({"kernels": (4, 3)}, "odd"),
     ({"channels": 0}, "at least 1"), ({"bins": 3}, "no field bins")],
)  # fmt: skip
def test_wrong_sizes_are_refused(values, match):
    with pytest.raises(ConfigError, match=match):
        FrontEndConfig.from_dict(values)
