"""The worlds of benchmarks/taste.py: tastes are in log and pairs, in no text, and training sees no held-out song."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest


@pytest.fixture
def benchmark(monkeypatch, request):
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    import taste
    import taste_worlds

    return taste, taste_worlds


def test_a_world_of_sounds(benchmark, tmp_path):
    pytest.importorskip("duckdb")
    taste, worlds = benchmark
    world = worlds.synthetic_world(tmp_path / "one", 7, n_train=80, n_held_out=48)
    worlds.write_log(world, 7)
    assert len(set(world.texts.values())) == 128 and not {*world.train} & {*world.held_out}
    pairs = [json.loads(line) for line in taste.make_pairs(world).read_text().splitlines()]
    assert {song for pair in pairs for song in pair.values() if song in world.taste} <= {*world.train}
    alike = np.mean([world.taste[pair["trigger"]] == world.taste[pair["song"]] for pair in pairs])
    assert alike > 0.25  # an eighth by chance; with few songs, listeners soon have all they like
    assert len(Counter(world.taste.values())) == worlds.TASTES
    loudest = {name: np.load(path)[0].astype(float).mean(0)[90:].argmax() for name, path in world.music.items()}
    order = [np.mean([at for name, at in loudest.items() if world.taste[name] == number]) for number in range(8)]
    assert order == sorted(order)  # it can be found in the frames: the noise rises with the taste
    again = worlds.synthetic_world(tmp_path / "two", 7, n_train=80, n_held_out=48)
    worlds.write_log(again, 7)
    assert again.taste == world.taste and again.log.read_bytes() == world.log.read_bytes()


def test_means_and_intervals_over_seeds(benchmark):
    taste, _ = benchmark
    measured = {"cold": {"recall": 0.5}, "warm": {"recall": 0.25}, "mrr_text_to_music": 0.4}
    rows = [
        {**dict.fromkeys([*taste.STAGES, "item-kNN", "popularity"], measured), "recall_ratio": ratio, "mrr_ratio": 1.0,
         "recall_test": {"p": ratio / 100}}
        for ratio in (2.0, 3.0, 4.0)
    ]  # fmt: skip
    found = taste.summary(rows)
    assert found["recall_ratio"]["mean"] == 3 and found["largest_p"] == 0.04
    assert found["recall_ratio"]["interval_95"] == pytest.approx([3 - 4.303 / 3**0.5, 3 + 4.303 / 3**0.5])
    assert found["mrr_ratio"]["interval_95"] == [1.0, 1.0]
