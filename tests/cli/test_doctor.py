"""The doctor: all well on this machine, and each kind of trouble is a line with what to do."""

import json
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from clamp3 import doctor
from clamp3.embedding.clamp3 import Clamp3, Encoded
from clamp3.jobs.cache import VectorCache


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAMP3_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vectors.sqlite"


def by_check(findings):
    return {finding.check: finding for finding in findings}


def test_all_is_well_here(script, cache, capsys):
    with VectorCache(None) as vectors:
        vectors.put_many({"a": np.ones(3, np.float32)})
    main = script("code/doctor.py").main
    assert main(["--json"]) == 0
    found = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert {row["state"] for row in found.values()} == {"ok"}, found
    assert "mini-" in found["weights"]["found"] and found["cache"]["found"].startswith("1 vectors, 0.")
    for suffix in ("wav", "flac", "ogg", "opus", "mp3", "aiff", "au", "m4a", "aac", "mp4", "wma"):
        assert found[f"decoder of .{suffix}"]["found"] == "a tone of 440 Hz is read as 440 Hz"
    assert main(["--clear_cache"]) == 0
    assert "removed 1 vectors" in capsys.readouterr().out
    assert main([]) == 0
    assert "ok       cache: 0 vectors" in capsys.readouterr().out


def test_weights_that_are_absent_or_cut_are_an_error_beside_the_rest(script, cache, tmp_path, tiny_weights, capsys):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_weights.read_bytes()[:-1000])
    main = script("code/doctor.py").main
    for model in (tmp_path / "absent.safetensors", cut):
        assert main(["--model", str(model)]) == 1
        out = capsys.readouterr().out
        assert "error    weights: " in out and "ok       decoder of .wav" in out and "ok       disk" in out


def test_vectors_that_are_all_alike_are_a_warning(cache, monkeypatch):
    encode = Clamp3.encode

    def alike(self, items, **options):
        found = encode(self, items, **options)
        return Encoded(found.vectors[:1].repeat(len(found.names), 0), found.errors, found.names, found.notes)

    monkeypatch.setattr(Clamp3, "encode", alike)
    found = by_check(doctor.examine())["spread of text vectors"]
    assert found.state == "warning" and "of at most 1.000" in found.found and "--text_model" not in found.advice


def test_a_decoder_that_gives_another_tone_or_breaks_is_an_error(cache, monkeypatch):
    monkeypatch.setattr(doctor, "_pitch", lambda content, suffix: 880.0)
    found = by_check(doctor._decoders())
    assert found["decoder of .mp3"].state == "error" and "is read as 880 Hz" in found["decoder of .mp3"].found

    def broken():
        raise ImportError("libsndfile.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "_decoders", broken)
    found = by_check(doctor.examine())
    assert found["decoders"].state == "error" and "libsndfile" in found["decoders"].found
    assert found["disk"].state == "ok" or "make room" in found["disk"].advice


def test_a_cache_that_cannot_be_written_to_is_a_warning(cache, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    (found,) = doctor._disk()
    assert found.state == "warning" and "CLAMP3_CACHE" in found.advice


def test_a_damaged_cache_that_was_moved_aside_is_a_warning(cache):
    assert next(doctor._cache()).found.startswith("none yet")
    cache.parent.mkdir()
    (cache.parent / "vectors.sqlite.damaged-17").write_bytes(bytes(2_000_000))
    (found,) = doctor._cache()
    assert found.state == "warning" and "1.9 MiB" in found.found and "clamp3 cache clear" in found.advice


def test_packages_that_are_absent_or_too_old_are_errors_and_optional_ones_are_not(monkeypatch):
    lines = ["torch>=2.6", "numpy>=1.26", "tqdm>=4", 'lancedb>=0.30; extra == "index"', 'shtab; extra == "completion"']
    there = {"torch": "1.13.1", "numpy": "2.4.6", "shtab": "1.13.0"}

    def version(name):
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    monkeypatch.setattr(doctor, "version", version)
    found = by_check(doctor._versions())
    states = {name: finding.state for name, finding in found.items()}
    assert states["version of torch"] == states["version of tqdm"] == "error"
    assert found["version of torch"].advice == "pip install 'torch>=2.6'" and found["version of tqdm"].found == "absent"
    assert states["version of numpy"] == "ok"
    assert states["optional index"] == "ok" and "clamp3[index]" in found["optional index"].advice
    assert found["optional packages"].found == "complete: completion"


def test_a_driver_without_a_build_of_torch_for_it_is_a_warning(monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU that torch finds")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert by_check(doctor._device())["device"].state == "warning"
