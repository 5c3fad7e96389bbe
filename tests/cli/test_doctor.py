"""The doctor: all well on this machine, and each kind of trouble is a line with what to do."""

import json

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
    for suffix in ("wav", "flac", "ogg", "mp3", "m4a", "wma"):
        assert found[f"decoder of .{suffix}"]["found"] == "a tone of 440 Hz is read as 440 Hz"
    assert main(["--clear_cache"]) == 0
    assert "removed 0.0 MiB" in capsys.readouterr().out and not cache.exists()
    assert main([]) == 0
    assert "ok       cache: none yet" in capsys.readouterr().out


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
