"""A family of models that the library does not know: one registration, and its checkpoints load, save and encode."""

from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clamp3.embedding.towers import load_tower
from clamp3.errors import ConfigError, WeightsError
from clamp3.models.config import Clamp3Config, M3Config, ModelConfig, TowerConfig
from clamp3.models.families import FAMILIES, Family, family_with, register
from clamp3.models.towers import TowerModel, masked_mean
from clamp3.models.weights import describe, init_symbolic_tower, load_m3, load_model, save_safetensors

pytestmark = pytest.mark.kernels


@dataclass(frozen=True)
class ToyConfig(ModelConfig):
    towers: tuple[str, ...] = ("symbolic", "frames")
    hidden_size: int = 6
    patch_size: int = 4
    frame_width: int = 3

    def length(self, name):
        return {"symbolic": 5, "frames": 7}[name]


class ToyModel(TowerModel):
    """A linear layer and a projection for each modality."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        for name in config.towers:
            n_inputs = config.patch_size if name == "symbolic" else config.frame_width
            self.add_module(f"{name}_model", nn.Linear(n_inputs, 8))
            self.add_module(f"{name}_proj", nn.Linear(8, config.hidden_size))

    def encode(self, modality, inputs, mask=None):
        layer = self.get_submodule(f"{modality}_model")
        return layer(inputs.to(layer.weight.dtype))

    def pool(self, modality, hidden, mask=None):
        projection = self.get_submodule(f"{modality}_proj")
        return projection(masked_mean(hidden, mask).to(projection.weight.dtype))


@pytest.fixture
def toy(tmp_path):
    """Register the family and write weights of it."""
    register(Family("toy", "Toy", ToyConfig, ToyModel))
    model = ToyModel(ToyConfig())
    save_safetensors(model, model.config, tmp_path / "toy.safetensors", info={"steps": 3})
    yield model, tmp_path / "toy.safetensors"
    del FAMILIES["toy"]


INPUTS = {
    "symbolic": torch.randint(0, 128, (2, 5, 4), generator=torch.Generator().manual_seed(0)),
    "frames": torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(1)),
}


def test_its_weights_describe_themselves(toy):
    described = describe(toy[1])
    assert described.config == ToyConfig()
    assert described.family is FAMILIES["toy"]
    assert described.info == {"steps": 3}


def test_its_towers_come_back_one_by_one(toy):
    model, path = toy
    loaded = load_model(path, ("frames",))
    assert loaded.config == ToyConfig(towers=("frames",))
    assert loaded.family.kind == "toy"
    assert {name.split("_")[0] for name in loaded.model.state_dict()} == {"frames"}
    expected = model.features("frames", INPUTS["frames"])
    torch.testing.assert_close(loaded.model.features("frames", INPUTS["frames"]), expected)
    with pytest.raises(ConfigError, match="no text tower; it has: symbolic, frames"):
        load_model(path, ("text",))


@pytest.mark.parametrize("modality", ["symbolic", "frames"])
def test_its_towers_give_vectors(toy, modality):
    model, path = toy
    tower = load_tower(path, modality, device="cpu")
    assert (tower.limit, tower.pad) == (model.config.length(modality), 0)
    mask = torch.arange(tower.limit) < torch.tensor([[tower.limit], [2]])
    vectors = tower.features(INPUTS[modality], mask)
    assert vectors.shape == (2, 6)
    torch.testing.assert_close(vectors, model.features(modality, INPUTS[modality], mask))
    assert load_tower(path, modality, dtype="bfloat16", device="cpu").dtype == torch.bfloat16


def test_it_is_not_taken_for_another(toy):
    with pytest.raises(WeightsError, match="holds Toy weights, not M3"):
        load_m3(toy[1])
    with pytest.raises(WeightsError, match="no patch encoder"):
        init_symbolic_tower(toy[1])
    with pytest.raises(ConfigError, match="'toy' is registered already"):
        register(FAMILIES["toy"])


def test_without_its_registration_the_known_kinds_are_listed(toy, tmp_path):
    family = FAMILIES.pop("toy")
    for read in (describe, load_model):
        with pytest.raises(WeightsError, match=r"of the unknown kind 'toy'; known are clamp3, clamp2, m3, htcl\.$"):
            read(toy[1])
    with pytest.raises(ConfigError, match="ToyConfig holds the sizes of no registered model family"):
        save_safetensors(toy[0], ToyConfig(), tmp_path / "other.safetensors")
    FAMILIES["toy"] = family


def test_a_family_that_cannot_tell_sizes_from_shapes_says_so(toy, tmp_path):
    save_file(toy[0].state_dict(), str(tmp_path / "bare.safetensors"), metadata={"kind": "toy"})
    with pytest.raises(WeightsError, match="does not state the sizes of its model"):
        describe(tmp_path / "bare.safetensors")


def test_the_families_there_are():
    assert list(FAMILIES) == ["clamp3", "clamp2", "m3", "htcl"]
    assert family_with(M3Config()) is FAMILIES["m3"]
    assert family_with(Clamp3Config()) is FAMILIES["clamp3"]


def test_sizes_say_what_belongs_to_a_tower():
    tower = TowerConfig(width=8, n_layers=1, n_heads=1, feed_forward=8, max_length=130, pad_id=1)
    clamp3 = Clamp3Config(text=tower, symbolic=tower, symbolic_length=16)
    assert [clamp3.pad_id(name) for name in clamp3.towers] == [1, 0]
    assert clamp3.parts("text") == ("text_front", "text_model", "text_proj")
    assert clamp3.restrict(["text"]) == Clamp3Config(text=tower, symbolic_length=16)
    m3 = M3Config()
    assert (m3.towers, m3.hidden_size, m3.length("symbolic")) == (("symbolic",), 768, 512)
    assert m3.projection("symbolic") is None
    with pytest.raises(ConfigError, match="no audio tower; it has: symbolic"):
        m3.restrict(["audio"])
