"""Weights from files and back: checked, loaded in part, saved; never executed."""

import dataclasses
import errno
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clamp3.errors import ConfigError, WeightsError
from clamp3.models import weights
from clamp3.models.bert import Bert
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, DecoderConfig, M3Config, TowerConfig
from clamp3.models.m3 import M3Model

pytestmark = pytest.mark.kernels

SIZES = {"width": 64, "n_layers": 2, "n_heads": 1, "feed_forward": 96}
TEXT = TowerConfig(**SIZES, max_length=130, vocab_size=30, type_vocab_size=1, layer_norm_eps=1e-5, pad_id=1)
CONFIG = Clamp3Config(
    text=TEXT,
    symbolic=TowerConfig(**SIZES, max_length=16),
    audio=TowerConfig(**SIZES, max_length=9),
    hidden_size=40,
    patch_size=6,
    symbolic_length=16,
    audio_length=9,
)
M3 = M3Config(
    encoder=TowerConfig(**SIZES, max_length=16),
    decoder=DecoderConfig(width=64, n_layers=1, n_heads=1, feed_forward=96, max_length=6),
    patch_size=6,
    patch_length=16,
)


def perturb(model):
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return perturb(Clamp3Model(CONFIG))


@pytest.fixture(scope="module")
def m3():
    return perturb(M3Model(M3))


@pytest.fixture
def own(tmp_path, model):
    path = tmp_path / "own.safetensors"
    weights.save_safetensors(model, CONFIG, path, info={"steps": 12, "text_model": "some/tokenizer"})
    return path


@pytest.fixture
def released(tmp_path, model):
    """Write a checkpoint as released training does: no sizes inside."""
    path = tmp_path / "released.pth"
    torch.save({"model": model.state_dict(), "optimizer": {"state": {}}, "epoch": 4, "min_eval_loss": 0.5}, path)
    return path


def same(state, other):
    assert list(state) == list(other)
    assert all(torch.equal(state[name], other[name]) for name in state)


# ---- files --------------------------------------------------------------------------------------------------------


def test_own_file_gives_back_model_sizes_and_facts(own, model):
    loaded = weights.load_model(own, ("text", "symbolic", "audio"))
    same(loaded.model.state_dict(), model.state_dict())
    assert loaded.config == CONFIG
    assert loaded.tokenizer_dir == "some/tokenizer"
    assert not loaded.model.training
    described = weights.describe(own)
    assert described.config == CONFIG
    assert described.info == {"steps": 12, "text_model": "some/tokenizer"}
    assert described.identity == loaded.identity


def test_released_file_gives_back_model_and_sizes(released, model):
    loaded = weights.load_model(released, ("text", "symbolic", "audio"))
    same(loaded.model.state_dict(), model.state_dict())
    assert loaded.config == CONFIG
    assert weights.describe(released).info == {"epoch": 4, "min_eval_loss": 0.5}


def test_a_bare_state_dict_and_the_prefix_of_parallel_training_are_read(tmp_path, model):
    path = tmp_path / "bare.pth"
    torch.save({f"module.{name}": tensor for name, tensor in model.state_dict().items()}, path)
    same(weights.load_model(path, CONFIG.towers).model.state_dict(), model.state_dict())


def test_files_of_torch_before_its_zip_format_are_read(tmp_path, model):
    path = tmp_path / "old.pth"
    torch.save({"model": model.state_dict()}, path, _use_new_zipfile_serialization=False)
    same(weights.load_model(path, CONFIG.towers).model.state_dict(), model.state_dict())


def test_old_position_buffers_are_no_weights(tmp_path, model):
    path = tmp_path / "old.pth"
    state = {**model.state_dict(), "text_model.embeddings.position_ids": torch.arange(130)[None]}
    torch.save({"model": state}, path)
    same(weights.load_model(path, CONFIG.towers).model.state_dict(), model.state_dict())


@pytest.mark.parametrize("kind", ["own", "released"])
def test_only_the_towers_asked_for_are_read(kind, request, model, monkeypatch):
    path = request.getfixturevalue(kind)
    read = []
    original = weights.Checkpoint.tensor
    monkeypatch.setattr(weights.Checkpoint, "tensor", lambda self, name: read.append(name) or original(self, name))
    loaded = weights.load_model(path, ("text",))
    assert loaded.config == dataclasses.replace(CONFIG, symbolic=None, audio=None)
    assert {name.split("_")[0] for name in read} == {"text"}
    same(loaded.model.text_model.state_dict(), model.text_model.state_dict())


@pytest.mark.parametrize("kind", ["own", "released"])
def test_float32_weights_stay_mapped_from_the_file(kind, request):
    """Two models of one file share its pages: nothing was copied."""
    path = request.getfixturevalue(kind)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs /proc to see what is mapped")
    loaded = weights.load_model(path, ("text",))
    address = loaded.model.text_proj.weight.data_ptr()
    for line in maps.read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            assert line.endswith(path.name)
            return
    pytest.fail("the weight lies in no mapping")


def test_a_tokenizer_beside_the_file_wins_over_the_name_inside(own):
    assert weights.describe(own).tokenizer_dir == "some/tokenizer"
    (own.parent / "tokenizer.json").touch()
    assert weights.describe(own).tokenizer_dir == own.parent


def test_towers_that_a_file_lacks_are_an_error(tmp_path, model):
    path = tmp_path / "partial.safetensors"
    partial = weights.load_model(_saved(model, tmp_path), ("symbolic",))
    weights.save_safetensors(partial.model, partial.config, path)
    assert weights.describe(path).config.towers == ("symbolic",)
    with pytest.raises(ConfigError, match="no text tower; it has: symbolic"):
        weights.load_model(path, ("text",))


def _saved(model, folder):
    weights.save_safetensors(model, CONFIG, folder / "all.safetensors")
    return folder / "all.safetensors"


def test_types_of_file_and_model_are_independent(tmp_path, model):
    path = tmp_path / "half.safetensors"
    weights.save_safetensors(model, CONFIG, path, dtype=torch.float16)
    assert path.stat().st_size < 0.6 * sum(p.numel() * 4 for p in model.parameters())
    exact = weights.load_model(path, ("symbolic",)).model.symbolic_proj.weight
    assert exact.dtype == torch.float32
    assert torch.equal(exact, model.symbolic_proj.weight.half().float())
    half = weights.load_model(path, ("symbolic",), dtype="bfloat16").model
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16, torch.float32}
    assert half.symbolic_model.base.encoder.layer[0].output.dense.weight.dtype == torch.bfloat16
    patches = torch.randint(0, 128, (1, 4, 6), dtype=torch.uint8)
    assert torch.cosine_similarity(half.symbolic_features(patches).float(), model.symbolic_features(patches)) > 0.999
    with pytest.raises(ConfigError, match="dtype"):
        weights.load_model(path, ("symbolic",), dtype="int8")


def test_saving_replaces_at_once_and_leaves_nothing_behind(own, model, monkeypatch):
    before = own.read_bytes()
    monkeypatch.setattr("clamp3.jobs.atomic._flush", _full)
    with pytest.raises(OSError, match="No space left on device"):
        weights.save_safetensors(model, CONFIG, own)
    assert own.read_bytes() == before
    assert [path.name for path in own.parent.iterdir()] == [own.name]


def _full(_path):
    raise OSError(errno.ENOSPC, "")


def test_the_header_can_be_read_without_this_code(own):
    from safetensors import safe_open

    metadata = safe_open(str(own), framework="pt").metadata()
    assert metadata["kind"] == "clamp3"
    assert json.loads(metadata["config"])["hidden_size"] == 40
    assert json.loads(metadata["info"])["steps"] == 12


def test_loading_imports_neither_transformers_nor_the_compiler_of_torch(own):
    code = (
        "import sys; from clamp3.models.weights import load_model; "
        f"load_model({str(own)!r}, ('text', 'symbolic', 'audio')); "
        "print([name for name in ('transformers', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- M3 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_m3_comes_back_with_its_output_layer_tied(tmp_path, m3, suffix):
    path = tmp_path / f"m3{suffix}"
    if suffix == ".pth":
        torch.save({"model": m3.state_dict()}, path)
    else:
        weights.save_safetensors(m3, M3, path)
    loaded = weights.load_m3(path)
    same(loaded.model.state_dict(), m3.state_dict())
    assert loaded.config == M3
    assert loaded.model.decoder.base.lm_head.weight is loaded.model.decoder.base.transformer.wte.weight
    config, state = weights.init_symbolic_tower(path)
    assert config == M3.encoder
    fresh = Clamp3Model(CONFIG)
    fresh.symbolic_model.load_state_dict(state)
    same(fresh.symbolic_model.state_dict(), m3.encoder.state_dict())


def test_a_symbolic_tower_can_start_from_a_clamp_file(own, model):
    config, state = weights.init_symbolic_tower(own)
    assert config == CONFIG.symbolic
    same(state, model.symbolic_model.state_dict())


def test_m3_and_clamp_are_not_mistaken_for_each_other(tmp_path, own, m3):
    path = tmp_path / "m3.safetensors"
    weights.save_safetensors(m3, M3, path)
    with pytest.raises(WeightsError, match="holds M3 weights"):
        weights.load_model(path)
    with pytest.raises(WeightsError, match="not M3"):
        weights.load_m3(own)


# ---- unsafe, damaged, unfitting -------------------------------------------------------------------------------------


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", [2, 4, None])
def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, protocol):
    path, mark = tmp_path / "evil.pth", tmp_path / "executed"
    content = {"model": {"text_proj.weight": torch.zeros(2)}, "epoch": Evil(mark)}
    if protocol is None:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(WeightsError, match="not opened") as error:
        weights.load_model(path)
    assert not mark.exists()
    assert "weights_only" not in str(error.value)  # torch's advice to open it anyway is not ours


@pytest.mark.parametrize("kind", ["own", "released"])
@pytest.mark.parametrize("keep", [0, 20, 0.5, 0.999])
def test_a_truncated_file_is_refused(kind, keep, request):
    path = request.getfixturevalue(kind)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(WeightsError, match=path.name):
        weights.load_model(path)


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors"])
def test_noise_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)) * 4)
    with pytest.raises(WeightsError, match=name):
        weights.load_model(tmp_path / name)


def test_a_pointer_of_git_lfs_is_called_by_its_name(tmp_path):
    (tmp_path / "weights.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(WeightsError, match="git lfs pull"):
        weights.load_model(tmp_path / "weights.pth")


@pytest.mark.parametrize("content", [[1, 2], {"model": {}}, {"model": 3}, {"model": {"a": "b"}}, {"epoch": 3}])
def test_something_else_than_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no checkpoint"):
        weights.load_model(tmp_path / "other.pth")


def test_tensors_of_another_model_are_refused(tmp_path):
    torch.save({"model": {"conv.weight": torch.zeros(3, 3)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no tower of CLaMP"):
        weights.load_model(tmp_path / "other.pth")


def damaged(model, path, change):
    state = dict(model.state_dict())
    change(state)
    torch.save({"model": state}, path)
    return path


def test_missing_tensors_are_listed(tmp_path, model):
    names = [name for name in model.text_model.state_dict() if "layer.1.attention" in name]

    def change(state):
        for name in names:
            del state[f"text_model.{name}"]

    path = damaged(model, tmp_path / "less.pth", change)
    with pytest.raises(WeightsError, match=r"10 missing \(text_model\.encoder\.layer\.1\..*, …\)"):
        weights.load_model(path, ("text",))
    assert weights.load_model(path, ("symbolic",)).config.towers == ("symbolic",)


def test_tensors_too_many_are_listed(tmp_path, model):
    path = damaged(model, tmp_path / "more.pth", lambda state: state.update({"text_model.extra": torch.zeros(1)}))
    with pytest.raises(WeightsError, match=r"1 unknown \(text_model\.extra\)"):
        weights.load_model(path, ("text",))


def test_tensors_of_another_shape_are_listed(tmp_path, model):
    def change(state):
        state["text_model.encoder.layer.1.output.dense.weight"] = torch.zeros(64, 95)

    path = damaged(model, tmp_path / "other.pth", change)
    with pytest.raises(WeightsError, match=r"layer\.1\.output\.dense\.weight is 64 × 95 instead of 64 × 96"):
        weights.load_model(path, ("text",))


def test_sizes_that_are_not_in_the_file_are_asked_for(tmp_path):
    narrow = {"width": 24, "n_layers": 1, "n_heads": 4, "feed_forward": 32}
    config = Clamp3Config(text=dataclasses.replace(TEXT, **narrow), hidden_size=8)
    model = perturb(Clamp3Model(config))
    torch.save({"model": model.state_dict()}, tmp_path / "narrow.pth")
    with pytest.raises(WeightsError, match="how many heads its encoder of width 24 has; name the folder"):
        weights.load_model(tmp_path / "narrow.pth", ("text",))
    folder = tmp_path / "text"
    write_transformers_config(folder, config.text)
    loaded = weights.load_model(tmp_path / "narrow.pth", ("text",), text_model=folder)
    assert loaded.config == config
    assert loaded.tokenizer_dir == folder
    with pytest.raises(ConfigError, match="no such folder"):
        weights.describe(tmp_path / "narrow.pth", text_model=tmp_path / "absent")


# ---- the text tower's start -----------------------------------------------------------------------------------------


def write_transformers_config(folder, tower):
    folder.mkdir(exist_ok=True)
    values = {
        "model_type": "xlm-roberta",
        "hidden_size": tower.width,
        "num_hidden_layers": tower.n_layers,
        "num_attention_heads": tower.n_heads,
        "intermediate_size": tower.feed_forward,
        "max_position_embeddings": tower.max_length,
        "vocab_size": tower.vocab_size,
        "type_vocab_size": tower.type_vocab_size,
        "layer_norm_eps": tower.layer_norm_eps,
        "pad_token_id": tower.pad_id,
    }
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("prefix", ["", "roberta."])
@pytest.mark.parametrize("pooler", [True, False])
def test_a_text_tower_starts_from_a_transformers_folder(tmp_path, file, prefix, pooler):
    from safetensors.torch import save_file

    original = perturb(Bert(TEXT))
    write_transformers_config(tmp_path, TEXT)
    state = {f"{prefix}{name}": t for name, t in original.state_dict().items() if pooler or "pooler" not in name}
    if prefix:
        state["lm_head.bias"] = torch.zeros(30)
    if file.endswith("bin"):
        torch.save(state, tmp_path / file)
    else:
        save_file(state, str(tmp_path / file))
    config, read = weights.init_text_tower(tmp_path)
    assert config == TEXT
    if not pooler:
        assert not read.pop("pooler.dense.weight").any()
        assert not read.pop("pooler.dense.bias").any()
    same(read, {name: t for name, t in original.state_dict().items() if pooler or "pooler" not in name})


def test_a_text_folder_without_weights_or_sizes_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match=r"no model\.safetensors and no pytorch_model\.bin"):
        weights.init_text_tower(tmp_path)
    torch.save(perturb(Bert(TEXT)).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"no config\.json"):
        weights.init_text_tower(tmp_path)
    write_transformers_config(tmp_path, dataclasses.replace(TEXT, n_layers=3))
    with pytest.raises(WeightsError, match=r"16 missing \(encoder\.layer\.2"):
        weights.init_text_tower(tmp_path)


@pytest.mark.parametrize("said", [{"info": "[]"}, {"info": "null"}, {"config": "5"}, {"config": "[" * 200_000}])
def test_a_file_that_says_nonsense_of_itself_is_refused(tmp_path, said):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, str(tmp_path / "a.safetensors"), metadata=said)
    with pytest.raises(WeightsError, match="is damaged or no safetensors file"):
        weights.describe(tmp_path / "a.safetensors")
