"""Departures from the released code that no other test holds, and that docs/deviations.md names tests that exist."""

import ast
import io
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from training_music import write_music

from clamp3.data.text_sampling import training_lines
from clamp3.embedding.clamp3 import Clamp3
from clamp3.formats import Kind
from clamp3.formats.abc.to_musicxml import abc_to_musicxml
from clamp3.training.config import M3Training
from clamp3.training.loop import make_accelerator
from clamp3.training.m3_task import make_m3_task, n_characters

ROOT = Path(__file__).resolve().parents[2]


def test_every_departure_names_a_test_that_exists():
    text, known, absent = (ROOT / "docs/deviations.md").read_text(encoding="utf-8"), {}, []
    for row in re.findall(r"(?m)^\|.*\|(.*)\|$", text):
        path = ""
        for named in re.findall(r"`([\w/]*(?:\.py)?(?:::\w+)?)`", row):
            file, _, name = named.partition("::")
            path = file or path
            if path not in known:
                tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
                known[path] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            if name and name not in known[path]:
                absent.append(f"{path}::{name}")
    assert absent == [] and len(known) > 30


def test_a_header_alone_is_no_music(tiny_weights):
    header = [(b"L:1/8\nM:4/4\nK:C\n", Kind.ABC)]
    refused, released = (Clamp3.from_pretrained(tiny_weights, as_is=as_is).encode(header) for as_is in (False, True))
    assert refused.errors[0] is not None
    assert released.errors[0] is None and np.isfinite(released.vectors).all()


def test_features_of_any_float_are_taken(tiny_weights):
    features = np.random.default_rng(0).standard_normal((1, 5, 32)).astype(np.float32)

    def npy(array):
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue(), Kind.FEATURES

    clamp3 = Clamp3.from_pretrained(tiny_weights)
    single, double = clamp3.encode([npy(features), npy(features.astype(np.float64))]).vectors
    np.testing.assert_allclose(single, double, atol=5e-6)


def test_musicxml_has_a_title_and_the_smallest_divisions():
    made = abc_to_musicxml("X:1\nL:1/8\nM:4/4\nK:C\nC2 D2 E2 F2|]\n", name="A tune")
    assert "<work-title>A tune</work-title>" in made.text
    assert "<divisions>1</divisions>" in made.text and "<duration>1</duration>" in made.text  # a quarter is one


def test_ranks_of_m3_weigh_by_characters(tmp_path, monkeypatch):
    """The mean over ranks is the loss of the global batch, though one rank has longer pieces than the other."""
    config = M3Training(data=(write_music(tmp_path),), out=tmp_path / "run", width=32, n_layers=1, n_heads=2,
                        decoder_layers=1, max_patches=32, batch_size=4)  # fmt: skip
    task = make_m3_task(config, make_accelerator(config))
    task.module.eval()
    order = sorted(range(len(task.train_data)), key=lambda i: task.train_data.lengths[i])
    short, long = order[:3], order[-5:]
    whole, *parts = (task.collate([task.train_data[0, i] for i in items]) for items in (short + long, short, long))
    expected = task.loss(task.module, whole)[0].item()
    counts = [float(n_characters(part["patches"], part["selected"])) for part in parts]
    assert counts[0] != counts[1]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: total.fill_(sum(counts)))
    losses = [task.loss(task.module, part)[0].item() for part in parts]
    assert sum(losses) / 2 == pytest.approx(expected, abs=1e-5)


def test_no_blank_line_is_drawn():
    item = {"title": "a\n\nb", "analysis": "c\n"}
    assert sorted(training_lines(item, random.Random(0), keep=0.0)) == ["a", "b", "c"]
