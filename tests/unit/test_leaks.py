"""Pieces of a benchmark that training has seen: by id, by title and artist, by vectors."""

import json

import numpy as np

from clamp3.retrieval.leaks import keys_of


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


BENCHMARK = [
    {"id": "dQw4w9WgXcQ", "title": "One", "artists": ["A"]},
    {"id": "0002", "title": "Señorita!", "artist": "J. Doe"},
    {"id": "new_song_01", "title": "Quite Another", "artists": ["J. Doe"]},
    {"id": "0004", "title": "Waltz"},
]


def test_what_identifies_a_record():
    assert keys_of({"id": "12", "filepaths": ["audio/dQw4w9WgXcQ.mp3.npy"]})["id"] == {"dQw4w9WgXcQ"}
    assert keys_of({"title": "Air", "artist": "X"})["title"] == set(), "too short a title says nothing"
    assert keys_of({"title": "Waltz"})["title"] == set(), "nor does one without an artist"


def test_records_and_vectors_in_training_are_listed(script, tmp_path, capsys):
    training = [
        {"id": "x", "title": "Waltz", "artists": []},
        {"id": "y", "title": "senorita", "artists": ["J Doe", "B"]},
        {"id": "z", "filepaths": ["audio/dQw4w9WgXcQ.npy"]},
    ]
    rng = np.random.default_rng(0)
    for name in ("bench", "train"):
        (tmp_path / name).mkdir()
    vectors = rng.standard_normal((6, 16)).astype(np.float32)
    for row in range(3):
        np.save(tmp_path / "train" / f"{row}.npy", vectors[row])
        np.save(tmp_path / "bench" / f"{row}.npy", vectors[row] * 3 + 0.01 if row == 1 else vectors[3 + row])
    main = script("preprocessing/text/leaks.py").main
    paths = [write(tmp_path / "b.jsonl", BENCHMARK), write(tmp_path / "t.jsonl", training)]
    folders = ["--vectors", str(tmp_path / "bench"), str(tmp_path / "train")]
    assert main([*paths, *folders, "--output", str(tmp_path / "r.json")]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "b.jsonl:1 is t.jsonl:3 by id: dQw4w9WgXcQ",
        "b.jsonl:2 is t.jsonl:2 by title: senorita/jdoe",
        "1.npy is near 1.npy: 1.0000",
        "2 records and 1 files of the benchmark are in training",
    ]
    assert len(json.loads((tmp_path / "r.json").read_text())["records"]) == 2
    clean = [paths[0], write(tmp_path / "c.jsonl", [{"id": "other_song", "title": "Nothing", "artists": ["J. Doe"]}])]
    assert main(clean) == 0 and "0 records and 0 files" in capsys.readouterr().out
