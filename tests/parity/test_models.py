"""The models against numbers of the published code, on weights made from their names."""

import json
import math

import numpy as np
import pytest
import torch
from seeded import GOLDEN, manifest, seeded, seeded_state

from clamp3.embedding.clamp3 import Clamp3
from clamp3.modalities.patches import MASK, encode
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, DecoderConfig, M3Config, TowerConfig
from clamp3.models.m3 import M3Model
from clamp3.models.tokenizer import load_tokenizer
from clamp3.models.weights import load_model

pytestmark = pytest.mark.kernels

TRAINING = GOLDEN.parent / "training"
TOWERS = {"text": ("text_",), "symbolic": ("symbolic_",), "audio": ("audio_",)}
INPUTS = sorted(path.name for path in (GOLDEN / "inputs").iterdir())
MODALITY = {"txt": "text", "abc": "symbolic", "mtf": "symbolic", "npy": "audio"}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Return a checkpoint as the released training writes it, with the golden weights."""
    path = tmp_path_factory.mktemp("released") / "weights.pth"
    torch.save(
        {
            "model": seeded_state("manifest.json"),
            "optimizer": {"state": {}, "param_groups": []},
            "lr_sched": {},
            "epoch": 3,
            "best_epoch": 3,
            "min_eval_loss": 1.5,
            "modality": "symbolic",
        },
        path,
    )
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def clamp3(released):
    return Clamp3.from_pretrained(released, text_model=GOLDEN / "tiny_xlmr", device="cpu")


def inputs(modality):
    return [GOLDEN / "inputs" / name for name in INPUTS if MODALITY[name.rsplit(".")[-1]] == modality]


def test_goldens_cover_every_modality():
    assert [len(inputs(modality)) for modality in TOWERS] == [5, 3, 2]


@pytest.mark.slow
@pytest.mark.parametrize("modality", TOWERS)
def test_global_vectors_equal_the_published_ones(clamp3, modality):
    paths = inputs(modality)
    encoded = clamp3.encode(paths)
    assert encoded.errors == [None] * len(paths)
    for path, ours in zip(paths, encoded.vectors, strict=True):
        published = np.load(GOLDEN / "global" / f"{path.stem}.npy")[0]
        assert ours.shape == published.shape == (768,)
        assert np.abs(ours - published).max() <= 1e-4, path.name
        cosine = ours @ published / np.linalg.norm(ours) / np.linalg.norm(published)
        assert cosine >= 0.999999, path.name


@pytest.mark.slow
@pytest.mark.parametrize("modality", TOWERS)
def test_hidden_states_equal_the_published_ones(clamp3, modality):
    paths = inputs(modality)
    for path, hidden in zip(paths, clamp3.encode(paths, temporal=True).temporal, strict=True):
        published = np.load(GOLDEN / "temporal" / f"{path.stem}.npz")
        assert hidden.shape == tuple(published["shape"]), path.name
        ours = {"first": hidden[0, :2], "last": hidden[0, -2:], "mean": hidden[0].mean(0)}
        for part, values in ours.items():
            assert np.abs(values - published[part]).max() <= 1e-4, f"{path.name} {part}"


@pytest.mark.slow
def test_bfloat16_keeps_the_direction(released, clamp3):
    path = GOLDEN / "inputs" / "score1.abc"
    half = Clamp3.from_pretrained(released, dtype="bfloat16", text_model=GOLDEN / "tiny_xlmr", device="cpu")
    ours, exact = half.encode([path]).vectors[0], clamp3.encode([path]).vectors[0]
    assert ours @ exact / np.linalg.norm(ours) / np.linalg.norm(exact) >= 0.9999


def test_released_sizes_have_exactly_the_published_names_and_shapes():
    with torch.device("meta"):
        model = Clamp3Model(Clamp3Config.released())
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    published = manifest("released_checkpoint_manifest.json")
    assert len(published) == 605
    assert ours == published
    assert sum(parameter.numel() for parameter in model.parameters()) == 457_896_960


def write_hollow(path, shapes):
    """Write a checkpoint with full shapes that takes hardly any room: behind its header is a hole in the file."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def test_a_checkpoint_with_the_605_published_names_loads_strictly(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_hollow(path, manifest("released_checkpoint_manifest.json"))
    loaded = load_model(path, ("text", "symbolic", "audio"))
    assert loaded.config == Clamp3Config.released()
    assert loaded.tokenizer_dir == "FacebookAI/xlm-roberta-base"
    assert len(loaded.model.state_dict()) == 605


def test_clamp2_loads_under_its_old_names(tmp_path):
    path = tmp_path / "weights.safetensors"
    published = manifest("released_clamp2_manifest.json")
    write_hollow(path, published)
    loaded = load_model(path, ("text", "symbolic"))
    renamed = {name.replace("music_", "symbolic_"): shape for name, shape in published.items()}
    assert {name: list(tensor.shape) for name, tensor in loaded.model.state_dict().items()} == renamed
    assert loaded.config == Clamp3Config(text=Clamp3Config.released().text, symbolic=Clamp3Config.released().symbolic)


@pytest.mark.parametrize("files", [["tokenizer.json"], ["sentencepiece.bpe.model"]])
def test_token_ids_equal_the_published_ones(tmp_path, files):
    for file in files:
        (tmp_path / file).write_bytes((GOLDEN / "tiny_xlmr" / file).read_bytes())
    tokenizer = load_tokenizer(tmp_path)
    published = json.loads((GOLDEN / "text_token_ids.json").read_text(encoding="utf-8"))
    trace = json.loads((TRAINING / "golden.json").read_text(encoding="utf-8"))["train_trace"]["texts"]
    assert [tokenizer.encode_lines([text]) for text in trace] == published.pop("train_trace")
    assert len(published) == 5
    for name, ids in published.items():
        lines = (GOLDEN / "inputs" / name).read_text(encoding="utf-8").split("\n")
        assert tokenizer.encode_lines([line for line in dict.fromkeys(lines) if line]) == ids, name


def test_m3_loss_equals_the_published_one():
    sizes = {"width": 96, "n_heads": 4, "dropout": 0.0}
    config = M3Config(
        encoder=TowerConfig(**sizes, n_layers=2, feed_forward=192),
        decoder=DecoderConfig(**sizes, n_layers=3, feed_forward=384),
    )
    state = {
        name: seeded(name, shape) + (1 if ".ln_" in name and name.endswith("weight") else 0)
        for name, shape in manifest("../training/m3_tiny_manifest.json").items()
    }
    model = M3Model(config)
    model.load_state_dict(state, strict=True)
    golden = json.loads((TRAINING / "golden.json").read_text(encoding="utf-8"))["m3"]
    patches = torch.from_numpy(encode((TRAINING / "bwv114.7.abc").read_text(encoding="utf-8")))[None]
    assert patches.shape[1] == golden["patches"]
    selected = torch.zeros(patches.shape[:2], dtype=torch.bool)
    selected[:, 1::3] = True
    corrupted = patches.clone()
    corrupted[selected] = MASK
    for mask in (None, torch.ones_like(selected)):
        assert model(patches, mask, selected, corrupted).item() == pytest.approx(golden["loss"], abs=1e-5)
