"""Weights by name or path: found, downloaded, identified; never replaced by others."""

import hashlib
import os
import shutil
from types import SimpleNamespace

import pytest

from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import WeightsError
from clamp3.models import registry, weights


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_keywords):
        raise ConnectionError("no network in this test")

    import huggingface_hub

    for name in ("hf_hub_download", "get_hf_file_metadata"):
        monkeypatch.setattr(huggingface_hub, name, refuse)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_args: None)


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, monkeypatch, no_network):
    """Point every place of the search to empty folders."""
    code, cache = tmp_path / "code", tmp_path / "cache"
    code.mkdir()
    (cache / "weights").mkdir(parents=True)
    monkeypatch.setattr(registry, "code_folder", lambda: code)
    monkeypatch.setenv("CLAMP3_CACHE", str(cache))
    return SimpleNamespace(code=code, cache=cache / "weights")


def test_the_code_folder_is_that_of_the_released_scripts():
    assert (registry.code_folder() / "clamp3" / "models").is_dir()
    assert registry.code_folder().name == "code"


@pytest.mark.parametrize("name", ["saas", "c2", "m3"])
def test_code_folder_before_cache(folders, name):
    file = registry.PUBLISHED[name].files[0]
    (folders.cache / file).touch()
    assert weights.resolve(name) == folders.cache / file
    (folders.code / file).touch()
    assert weights.resolve(name) == folders.code / file


def test_both_names_of_m3_are_found(folders):
    published, configured = registry.PUBLISHED["m3"].files
    assert published.startswith("weights_m3_p_size_64_p_length_512_t_layers_3")
    assert configured.startswith("weights_m3_h_size_768_t_layers_3_p_layers_12_p_size_64")
    (folders.code / configured).touch()
    assert weights.resolve("m3").name == configured


@pytest.mark.parametrize("name", ["saas", "c2", "m3"])
def test_absent_weights_name_file_address_and_folder(folders, name):
    others = [n for n in registry.PUBLISHED if n not in (name, "mini")]
    for other in others:
        (folders.code / registry.PUBLISHED[other].files[0]).touch()  # must not be taken instead
    with pytest.raises(WeightsError) as error:
        weights.resolve(name)
    published = registry.PUBLISHED[name]
    for part in (name, published.files[0], published.url(published.files[0]), str(folders.code), str(folders.cache)):
        assert part in str(error.value)


def test_an_absent_epoch_is_an_error_and_never_another_checkpoint(folders):
    file = registry.PUBLISHED["c2"].files[0]
    (folders.code / file).touch()
    with pytest.raises(WeightsError, match=r"p_length_512_15\.pth") as error:
        weights.resolve("c2", epoch=15)
    assert "http" not in str(error.value)  # there is no such address
    (folders.code / file.replace(".pth", "_15.pth")).touch()
    assert weights.resolve("c2", epoch=15).name == file.replace(".pth", "_15.pth")


def test_checkpoints_of_a_training_run(tmp_path):
    for name in ("best.safetensors", "epoch_0005.safetensors", "x.pth", "x_5.pth"):
        (tmp_path / name).touch()
    assert weights.resolve(tmp_path).name == "best.safetensors"
    assert weights.resolve(tmp_path, epoch=5).name == "epoch_0005.safetensors"
    assert weights.resolve(tmp_path / "best.safetensors", epoch=5).name == "epoch_0005.safetensors"
    assert weights.resolve(tmp_path / "x.pth", epoch=5).name == "x_5.pth"
    with pytest.raises(WeightsError, match=r"epoch 6 at .*; there are epoch_0005\.safetensors\."):
        weights.resolve(tmp_path, epoch=6)


@pytest.mark.parametrize("name", ["sas", "weights.pth", "some/folder"])
def test_what_is_no_name_is_a_path_and_its_absence_lists_the_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"saas, c2, clamp2, m3, htcl, mini"):
        weights.resolve(name)


def test_mini_without_its_file_says_where_it_comes_from(folders, monkeypatch):
    monkeypatch.setattr(registry, "__file__", str(folders.code / "registry.py"))
    with pytest.raises(WeightsError, match="recipes/mini"):
        weights.resolve("mini")
    (folders.code / "mini").mkdir()
    (folders.code / "mini" / "mini.safetensors").touch()
    assert weights.resolve("mini") == folders.code / "mini" / "mini.safetensors"


# ---- downloads ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path, folders):
    """Stand in for the hub: one file, and what is said about it."""
    import huggingface_hub

    content = tmp_path / "hub" / "blob"
    content.parent.mkdir()
    content.write_bytes(b"tensors")
    stated = SimpleNamespace(size=7, etag=hashlib.sha256(b"tensors").hexdigest(), calls=[])
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url: stated.calls.append(url) or stated)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, file: str(content))
    stated.content = content
    return stated


def test_a_download_that_is_as_stated_is_used(hub):
    assert weights.resolve("saas") == hub.content
    assert "sander-wood/clamp3" in hub.calls[0]


@pytest.mark.parametrize("wrong", [{"size": 8}, {"etag": "0" * 64}])
def test_a_download_that_differs_is_removed(hub, wrong):
    for name, value in wrong.items():
        setattr(hub, name, value)
    with pytest.raises(WeightsError, match="arrived damaged"):
        weights.resolve("saas")
    assert not hub.content.exists()


def test_without_permission_nothing_is_downloaded(hub):
    with pytest.raises(WeightsError, match="not in the Hugging Face cache"):
        weights.resolve("saas", download=False)
    assert hub.calls == []


# ---- identity -------------------------------------------------------------------------------------------------------


def test_identity_follows_the_content_and_the_name(tmp_path, tiny_weights):
    first = weights.describe(tiny_weights).identity
    assert first.startswith("tiny-")
    copy = tmp_path / "copy.safetensors"
    shutil.copy(tiny_weights, copy)
    assert weights.describe(copy).identity == f"copy-{first.removeprefix('tiny-')}"
    named = tmp_path / registry.PUBLISHED["c2"].files[0]
    shutil.copy(tiny_weights, named)
    assert registry.identity(named) == f"c2-{first.removeprefix('tiny-')}"


def test_a_changed_file_has_another_identity(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"one")
    first = registry.identity(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert registry.identity(path) != first


def test_the_hash_is_computed_once(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    path.write_bytes(b"one")
    first = registry.digest(path)
    monkeypatch.setattr(registry, "ThreadPoolExecutor", lambda: pytest.fail("read again"))
    assert registry.digest(path) == first


def test_a_file_with_the_size_and_time_of_another_has_its_own_hash(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"one")
    first, status = registry.digest(path), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert registry.digest(path) == registry.digest(path, anew=True) != first


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 23, 24])
def test_a_digest_is_the_hash_of_the_size_and_of_the_hashes_of_blocks(tmp_path, monkeypatch, size):
    monkeypatch.setattr(registry, "_BLOCK", 8)
    content = bytes(range(size))
    (tmp_path / "a.pth").write_bytes(content)
    blocks = [content[start : start + 8] for start in range(0, size, 8)]
    expected = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=32)
    expected.update(b"".join(hashlib.blake2b(block).digest() for block in blocks))
    assert registry.digest(tmp_path / "a.pth") == expected.hexdigest()


def test_opening_weights_does_not_read_all_of_them(tiny_weights, monkeypatch):
    monkeypatch.setattr(registry, "digest", lambda *_, **__: pytest.fail("hashed before anyone asked"))
    assert Clamp3.from_pretrained(tiny_weights, towers=("text",)).encode("slow song").ok.all()


def test_an_unwritable_cache_only_costs_time(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLAMP3_CACHE", str(tmp_path / "file"))
    path = tmp_path / "a.pth"
    path.write_bytes(b"one")
    assert registry.digest(path) == registry.digest(path)
