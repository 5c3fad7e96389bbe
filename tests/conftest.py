"""What several test modules share: a small CLaMP 3 with random weights, and a loader for scripts."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from small_tokenizer import write_tokenizer

ROOT = Path(__file__).resolve().parents[1]
# Threads cost more than they give at the sizes of tests; before the first import of torch, which reads it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption("--plain_products", action="store_true", help="as where torch is built without oneDNN")


def pytest_configure(config):
    if config.getoption("--plain_products"):
        import torch

        torch.backends.mkldnn.enabled = False


def pytest_make_parametrize_id(config, val, argname):
    """Name contents by their parameter, not by their bytes: some hold the time, and names must not change."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def script():
    """Return a function that imports a script of this repository by its path, such as ``code/extract_clamp3.py``."""

    def load(relative):
        path = ROOT / relative
        spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keep tests away from the cache of the person who runs them."""
    monkeypatch.setenv("CLAMP3_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """Return a checkpoint of three small towers with short windows (8 tokens, 12 patches, 6 audio vectors)."""
    import torch

    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config, TowerConfig
    from clamp3.models.weights import save_safetensors

    folder = tmp_path_factory.mktemp("tiny")
    n_tokens = write_tokenizer(folder)
    sizes = {"width": 32, "n_layers": 2, "n_heads": 4, "feed_forward": 64}
    config = Clamp3Config(
        text=TowerConfig(**sizes, max_length=10, vocab_size=n_tokens, type_vocab_size=1, pad_id=1),
        symbolic=TowerConfig(**sizes, max_length=12),
        audio=TowerConfig(**sizes, max_length=6),
        hidden_size=24,
        text_length=8,
        symbolic_length=12,
        audio_length=6,
    )
    model = Clamp3Model(config, generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():  # zeros and ones would hide forgotten biases and norms
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    path = folder / "tiny.safetensors"
    save_safetensors(model, config, path)
    return path


@pytest.fixture(scope="session")
def other_weights(tiny_weights, tmp_path_factory):
    """Return a checkpoint of the same sizes and tokenizer with other values."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("other")
    for path in tiny_weights.parent.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with safe_open(tiny_weights, "pt") as file:
        metadata = file.metadata()
    tensors = {name: tensor.flip(0) for name, tensor in load_file(tiny_weights).items()}
    save_file(tensors, folder / "other.safetensors", metadata=metadata)
    return folder / "other.safetensors"


@pytest.fixture
def music(tmp_path):
    """Return a folder with one small file of every kind that needs no conversion but ABC's."""
    import numpy as np

    folder = tmp_path / "music"
    (folder / "sub").mkdir(parents=True)
    (folder / "song.txt").write_text("slow song\nfor piano\nslow song\n", encoding="utf-8")
    bars = "".join(f"[V:1]{note}4|[V:2]{note},4|\n" for note in "CDEFGAB" * 3)
    voices = "V:1 treble\nV:2 bass\n"
    (folder / "long.abc").write_text(f"%%score 1 2\nL:1/8\nM:2/4\nK:C\n{voices}{bars}", encoding="utf-8")
    (folder / "sub" / "tune.ABC").write_text("L:1/8\nM:2/4\nK:G\nV:1 treble\n[V:1]G2A2|\n[V:1]B4|]\n", encoding="utf-8")
    notes = "".join(f"note_on {i} 0 {60 + i} 80\nnote_off {i} 0 {60 + i} 0\n" for i in range(9))
    (folder / "play.mtf").write_text(f"ticks_per_beat 480\n{notes}end_of_track 1\n", encoding="utf-8")
    np.save(folder / "audio.npy", np.random.default_rng(3).standard_normal((1, 15, 32)).astype(np.float32))
    return folder


@pytest.fixture(scope="session")
def tiny_mert(tmp_path_factory):
    """Return a folder with a small MERT of random weights and width 32."""
    return write_mert(tmp_path_factory.mktemp("mert"), width=32)


def write_mert(folder, width):
    """Write a small MERT of random weights with the published names; return the folder."""
    import json

    import torch
    from transformers import HubertConfig, HubertModel

    sizes = {
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "conv_dim": [16] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    }
    torch.manual_seed(5)
    state = HubertModel(HubertConfig(**sizes)).state_dict()
    positions = "encoder.pos_conv_embed.conv."
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        state[positions + old] = state.pop(f"{positions}parametrizations.weight.{new}")
    torch.save(state, folder / "pytorch_model.bin")
    facts = {"model_type": "mert_model", "architectures": ["MERTModel"], "auto_map": {"AutoModel": "evil.MERTModel"}}
    config = {**facts, **sizes, "sample_rate": 24_000, "feature_extractor_cqt": False, "deepnorm": False}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_mel(tmp_path_factory):
    """Return a checkpoint with text, symbolic and audio towers, the last behind a mel front end, as mini's."""
    import torch

    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config, FrontEndConfig, TowerConfig
    from clamp3.models.weights import save_safetensors

    folder = tmp_path_factory.mktemp("mel")
    n_tokens = write_tokenizer(folder)
    sizes = {"width": 32, "n_layers": 1, "n_heads": 4, "feed_forward": 64}
    config = Clamp3Config(
        text=TowerConfig(**sizes, max_length=10, vocab_size=n_tokens, type_vocab_size=1, pad_id=1),
        symbolic=TowerConfig(**sizes, max_length=12),
        audio=TowerConfig(**sizes, max_length=6),
        hidden_size=24,
        text_length=8,
        symbolic_length=12,
        audio_length=6,
        front_end=FrontEndConfig("mel", channels=16),
    )
    path = folder / "mel.safetensors"
    save_safetensors(Clamp3Model(config, generator=torch.Generator().manual_seed(11)), config, path)
    return path
