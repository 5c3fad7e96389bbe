"""Slim weights and model cards: every number of the checkpoint, nothing else, and a card that says what it is."""

import json
import re

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors import safe_open

from clamp3 import cli, commands
from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import WeightsError
from clamp3.models import slim
from clamp3.models.checkpoint import open_checkpoint
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.models.slim import write_slim
from clamp3.models.weights import load_model

TOWERS = ("text", "symbolic", "audio")
WIDE = {"width": 64, "n_layers": 1, "n_heads": 1, "feed_forward": 64}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Write what released training does: names of data-parallel training, optimizer state, epoch."""
    config = Clamp3Config(
        text=TowerConfig(**WIDE, max_length=130, vocab_size=40, type_vocab_size=1, pad_id=1),
        symbolic=TowerConfig(**WIDE, max_length=12),
        audio=TowerConfig(**WIDE, max_length=12),
        hidden_size=64,
        symbolic_length=12,
        audio_length=12,
    )
    model = Clamp3Model(config, generator=torch.Generator().manual_seed(3))
    tensors = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    state = {number: {"exp_avg": torch.randn_like(t), "exp_avg_sq": t**2} for number, t in enumerate(tensors.values())}
    path = tmp_path_factory.mktemp("released") / "weights_clamp3_made_up.pth"
    torch.save({"model": tensors, "optimizer": {"state": state}, "epoch": 4, "min_eval_loss": 0.5}, path)
    return path


@pytest.mark.parametrize("towers", [(), ("text",), ("symbolic", "audio")])
def test_towers_alone_and_every_number(released, tmp_path, towers):
    found = write_slim(released, tmp_path / "out", towers=towers)
    expected = load_model(released, towers or TOWERS).model.state_dict()
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert sorted(file.keys()) == sorted(expected)
        for name in file.keys():  # noqa: SIM118  it is no dict
            assert torch.equal(file.get_tensor(name), expected[name]), name
    assert found.tensors == len(expected) and found.towers == (towers or TOWERS)
    assert found.bytes_after < found.bytes_before / 3  # its optimizer state is twice the towers
    loaded = load_model(tmp_path / "out", towers or TOWERS)  # by the folder's name
    assert loaded.family.kind == "clamp3" and loaded.tokenizer_dir == (
        "FacebookAI/xlm-roberta-base" if "text" in found.towers else None
    )
    info = open_checkpoint(tmp_path / "out" / "model.safetensors").info
    assert info["epoch"] == 4 and info["from"] == found.weights


def test_8_bit_rows_stay_as_they_are(tmp_path):
    mini = Clamp3.from_pretrained("mini")
    write_slim("mini", tmp_path / "out", towers=["text"])
    again = Clamp3.from_pretrained(tmp_path / "out")
    np.testing.assert_array_equal(again.encode(["a jig"]).vectors, mini.encode(["a jig"]).vectors)
    assert again.lacks("audio")


def test_a_difference_is_noticed_and_nothing_is_left(released, tmp_path, monkeypatch):
    import safetensors.torch

    real = safetensors.torch.save_file

    def damaged(tensors, path, metadata):
        name = next(iter(tensors))
        real({**tensors, name: tensors[name] + 1}, path, metadata)

    monkeypatch.setattr(safetensors.torch, "save_file", damaged)
    with pytest.raises(WeightsError, match="did not arrive"):
        write_slim(released, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_tensors_are_mapped_and_not_copied(released, tmp_path, monkeypatch):
    """What is given to the writer lies in the mapped file: a checkpoint does not pass through memory as a whole."""
    import safetensors.torch

    given = {}
    real = safetensors.torch.save_file
    monkeypatch.setattr(
        safetensors.torch,
        "save_file",
        lambda tensors, path, metadata: (given.update(tensors), real(tensors, path, metadata)),
    )
    source = open_checkpoint(released)
    monkeypatch.setattr(slim, "open_checkpoint", lambda path: source if path == released else open_checkpoint(path))
    write_slim(released, tmp_path / "out")
    mapped = [name for name, tensor in given.items() if tensor.data_ptr() == source.tensor(name).data_ptr()]
    # This one lies by columns in our models, and so in the file that is made up here.
    assert set(given) - set(mapped) == {"symbolic_model.patch_embedding.weight"}


def run(*words):
    return cli.run(lambda: commands.main([str(word) for word in words]))


class Hub:
    """Takes what is uploaded, as `HfApi` is called."""

    def __init__(self, **_options):
        pass

    def create_repo(self, repo, *, private, exist_ok):
        HUB["made"] = (repo, private, exist_ok)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
        from fnmatch import fnmatch

        names = [path.name for path in folder_path.iterdir()]
        HUB["files"] = sorted(name for name in names if any(fnmatch(name, pattern) for pattern in allow_patterns))


HUB = {}


def test_the_card_and_the_upload(released, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    out = tmp_path / "out"
    words = (
        "export",
        out,
        "--to",
        "safetensors",
        "--model",
        released,
        "--tower",
        "symbolic",
        "--push_to_hub",
        "me/mine",
    )
    assert run(*words) == 2
    assert "licence" in capsys.readouterr().err and not HUB
    words = (*words, "--overwrite", "--licence", "cc-by-4.0")
    assert run(*words, "--card_only") == 0 and not HUB
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    identity = json.loads(safe_open(out / "model.safetensors", "pt").metadata()["info"])["from"]
    assert f"Identity of the weights: `{identity}`" in card
    assert re.search(r"\| symbolic \| `model.safetensors` \| [\d.]+ MB \|", card)
    (out / "notes.txt").write_text("mine")
    assert run(*words, "--private") == 0
    assert HUB == {"made": ("me/mine", True, True), "files": ["README.md", "model.safetensors"]}
    assert "https://huggingface.co/me/mine" in capsys.readouterr().out
    (out / "README.md").write_text("# My own words")
    assert run(*words) == 2
    assert "left alone" in capsys.readouterr().err
    assert (out / "README.md").read_text() == "# My own words"


def test_the_hubs_refusal_is_one_sentence(released, tmp_path, monkeypatch, capsys):
    class Refusing(Hub):
        def create_repo(self, repo, *, private, exist_ok):
            raise RuntimeError("401 Client Error: Unauthorized for url\nbody")

    monkeypatch.setattr(huggingface_hub, "HfApi", Refusing)
    words = ("export", tmp_path / "out", "--to", "safetensors", "--model", released, "--tower", "audio")
    assert run(*words, "--push_to_hub", "me/mine", "--licence", "mit") == 2
    error = capsys.readouterr().err
    assert "401 Client Error" in error and "hf auth login" in error and error.count("\n") == 1


@pytest.mark.parametrize("words", [("--push_to_hub", "mine"), ("--card_only",), ("--private",)])
def test_wrong_flags_of_the_upload(tmp_path, capsys, words):
    assert run("export", tmp_path / "out", *words) == 2
    assert "--push_to_hub" in capsys.readouterr().err and not (tmp_path / "out").exists()
