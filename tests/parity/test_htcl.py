"""HTCL against numbers of its published code, and the published names; see golden/htcl/golden.json.

What of the small model's weights is not drawn from its name lies in golden/htcl/weights.npz.
"""

import json

import numpy as np
import pytest
import torch
from seeded import GOLDEN, seeded

from clamp3.errors import WeightsError
from clamp3.models.config import TowerConfig
from clamp3.models.htcl import HtclModel
from clamp3.models.htcl_config import HtclAudioConfig, HtclConfig
from clamp3.models.weights import describe, load_model
from clamp3.training.htcl_task import HtclObjective

HTCL = GOLDEN.parent / "htcl"
EXPECTED = json.loads((HTCL / "golden.json").read_text(encoding="utf-8"))
MANIFEST = json.loads((HTCL / "manifest.json").read_text(encoding="utf-8"))
WIDTH = 96


@pytest.fixture(scope="module")
def model():
    sizes = EXPECTED["tiny_config"]
    audio = HtclAudioConfig(
        width=WIDTH, n_layers=sizes["num_hidden_layers"], n_heads=sizes["num_attention_heads"],
        feed_forward=sizes["intermediate_size"], channels=sizes["conv_filters"][0],
    )  # fmt: skip
    text = TowerConfig(width=WIDTH, n_layers=1, n_heads=4, feed_forward=96, max_length=16, vocab_size=9)
    model = HtclModel(HtclConfig(text, audio, hidden_size=12, text_length=16, fusion=True)).eval()
    kept = np.load(HTCL / "weights.npz")
    state = model.state_dict()
    for name in state:
        if name in kept.files:
            state[name] = torch.from_numpy(kept[name])
        elif name.startswith("audio_model."):
            state[name] = seeded(name.removeprefix("audio_model."), state[name].shape)
    assert set(kept.files) <= set(state)
    model.load_state_dict(state)
    return model


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.Generator(np.random.Philox(31))
    frames = rng.standard_normal((4, 1251, 128), dtype=np.float32)
    return torch.from_numpy(frames), torch.from_numpy(rng.standard_normal((4, WIDTH), dtype=np.float32))


@torch.no_grad()
def test_the_audio_encoder(model, inputs):
    expected = np.load(HTCL / "audio_output.npz")
    wrapped = torch.nn.functional.pad(inputs[0], (0, 0, 1, 1))  # as the audio modality prepares sequences
    hidden = model.encode("audio", wrapped).numpy()
    assert hidden.shape == tuple(expected["shape"])
    assert np.abs(hidden.mean(1) - expected["mean"]).max() <= 1e-4
    assert np.abs(hidden[:, 0] - expected["first"]).max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("stage", [1, 2])
def test_the_losses(model, inputs, stage):
    """From frames and pooled text vectors; in stage 2 songs 0 and 1 are triggers, 2 and 3 what they lead to."""
    frames, pooled = inputs
    audio = model.features("audio", torch.nn.functional.pad(frames, (0, 0, 1, 1)))
    found = HtclObjective(stage)(model, audio, model.text_mlp(pooled))
    assert found["loss"].item() == pytest.approx(EXPECTED[f"stage{stage}_loss"], abs=1e-4)
    assert len(found) == (1 if stage == 1 else 4)


@pytest.mark.parametrize("towers", [("audio",), ("text", "audio")])
def test_the_published_names(tmp_path, towers):
    """The audio encoder alone, or in a whole model as the training scripts save it: strict, by names and shapes."""
    prefix = "" if towers == ("audio",) else "audio_model."
    state = {f"{prefix}{name}": torch.zeros(shape) for name, shape in MANIFEST.items()}
    assert len(state) == 165
    if len(towers) > 1:
        sizes = HtclConfig.released()
        with torch.device("meta"):
            whole = HtclModel(sizes).state_dict()
        for name, tensor in whole.items():
            if not name.startswith("audio_model.") and (".layer." not in name or ".layer.0." in name):  # of BERT
                shape = (50, *tensor.shape[1:]) if "word_embeddings" in name else tensor.shape
                state[name] = torch.zeros(shape)
        state |= {f"tau_{i}": torch.tensor(2.6) for i in (1, 2, 3)}
    path = tmp_path / "audio-model-stage-2.pth"
    torch.save(state, path)
    loaded = load_model(path, towers)
    assert loaded.family.kind == "htcl" and loaded.config.audio == HtclAudioConfig()
    assert loaded.config.hidden_size == (768 if towers == ("audio",) else 100)
    assert loaded.config.fusion == (len(towers) > 1) and loaded.config.audio.n_positions == 156
    audio = {name for name in loaded.model.state_dict() if name.startswith("audio_model.")}
    assert audio == {f"audio_model.{name}" for name in MANIFEST}
    assert sum(p.numel() for p in loaded.model.audio_model.parameters()) == 88_500_511
    if len(towers) > 1:
        assert str(describe(path).tokenizer_dir) == "google-bert/bert-base-multilingual-uncased"
    del state[f"{prefix}pos_conv_embed.conv.bias"]
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"1 missing \(audio_model\.pos_conv_embed\.conv\.bias\)"):
        load_model(path, towers)
