"""Standardised vectors: no collapse, and an export that is a plain CLaMP 3."""

from __future__ import annotations

import pytest
import torch

from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.models.towers import Clamp3Model
from clamp3.training.clamp3_task import PairEncoder


def small_model():
    torch.manual_seed(0)
    text = TowerConfig(
        width=16, n_layers=1, n_heads=2, feed_forward=32, max_length=20, vocab_size=30, type_vocab_size=1, pad_id=1
    )
    symbolic = TowerConfig(width=16, n_layers=1, n_heads=2, feed_forward=32, max_length=12)
    return Clamp3Model(Clamp3Config(text=text, symbolic=symbolic, hidden_size=8, text_length=16, symbolic_length=12))


def batch():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 30, (6, 9), generator=generator)
    patches = torch.randint(0, 128, (6, 5, 64), generator=generator, dtype=torch.uint8)
    return ids, torch.ones(6, 9, dtype=torch.bool), patches, torch.ones(6, 5, dtype=torch.bool)


def test_released_vectors_are_compared_as_they_are():
    encoder = PairEncoder(small_model())
    vectors = torch.randn(4, 8)
    assert encoder.comparable(vectors, "text") is vectors
    assert encoder.exported() is encoder.model


def test_batch_statistics_standardise_every_dimension():
    encoder = PairEncoder(small_model(), standardise=True).train()
    vectors = 5 + torch.randn(64, 8) * torch.arange(1, 9)
    found = encoder.comparable(vectors, "symbolic")
    assert found.norm(dim=1) == pytest.approx(torch.ones(64), abs=1e-5)
    expected = (vectors - vectors.mean(0)) / vectors.std(0, unbiased=False)
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected, dim=1), atol=1e-4, rtol=0)


def test_the_exported_model_gives_the_standardised_vectors():
    encoder = PairEncoder(small_model(), standardise=True).train()
    for _ in range(20):  # until the running statistics are far from 0 and 1
        for side, vectors in zip(("text", "symbolic"), encoder(*batch()), strict=True):
            encoder.comparable(vectors, side)
    encoder.eval()
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    with torch.no_grad():
        plain = encoder(*batch())
        expected = [
            encoder.comparable(vectors, side) for vectors, side in zip(plain, ("text", "symbolic"), strict=True)
        ]
        exported = encoder.exported()
        found = PairEncoder(exported).eval()(*batch())
    for ours, want, raw in zip(found, expected, plain, strict=True):
        assert (torch.nn.functional.normalize(raw, dim=1) - want).abs().max() > 0.1  # the statistics do something
        torch.testing.assert_close(torch.nn.functional.normalize(ours, dim=1), want, atol=1e-5, rtol=0)
    assert exported.state_dict().keys() == before.keys()
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, before[name]), f"export changed {name} of the model in training"
