"""Standardised vectors: no collapse, and an export that is a plain CLaMP 3."""

from __future__ import annotations

import pytest
import torch

from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.training.pair_encoder import PairEncoder

pytestmark = pytest.mark.kernels


def small_model():
    torch.manual_seed(0)
    text = TowerConfig(
        width=16, n_layers=1, n_heads=2, feed_forward=32, max_length=20, vocab_size=30, type_vocab_size=1, pad_id=1
    )
    symbolic = TowerConfig(width=16, n_layers=1, n_heads=2, feed_forward=32, max_length=12)
    return Clamp3Model(Clamp3Config(text=text, symbolic=symbolic, hidden_size=8, text_length=16, symbolic_length=12))


def batch(n=6):
    generator = torch.Generator().manual_seed(1)
    return {
        "text": torch.randint(4, 30, (n, 9), generator=generator),
        "text_mask": torch.ones(n, 9, dtype=torch.bool),
        "symbolic": torch.randint(0, 128, (n, 5, 64), generator=generator, dtype=torch.uint8),
        "symbolic_mask": torch.ones(n, 5, dtype=torch.bool),
    }


def everywhere(vectors):
    return {view: torch.ones(len(rows), dtype=torch.bool) for view, rows in vectors.items()}


def unit(rows):
    return torch.nn.functional.normalize(rows, dim=1)


def test_released_vectors_are_compared_as_they_are():
    encoder = PairEncoder(small_model())
    vectors = {"text": torch.randn(4, 8)}
    assert encoder.comparable(vectors, everywhere(vectors))["text"] is vectors["text"]
    assert encoder.exported() is encoder.model


def test_batch_statistics_standardise_every_dimension():
    encoder = PairEncoder(small_model(), standardise=("text", "symbolic")).train()
    vectors = 5 + torch.randn(64, 8) * torch.arange(1, 9)
    found = encoder.comparable({"symbolic": vectors}, everywhere({"symbolic": vectors}))["symbolic"]
    assert found.norm(dim=1) == pytest.approx(torch.ones(64), abs=1e-5)
    expected = (vectors - vectors.mean(0)) / vectors.std(0, unbiased=False)
    torch.testing.assert_close(found, unit(expected), atol=1e-4, rtol=0)


def test_statistics_are_those_of_the_rows_that_are_there_whatever_their_side():
    encoder = PairEncoder(small_model(), standardise=("symbolic",)).train()
    vectors = {"abc": torch.randn(5, 8) + 3, "mtf": torch.randn(5, 8) + 3}
    present = {"abc": torch.tensor([1, 1, 0, 1, 1]).bool(), "mtf": torch.tensor([0, 1, 1, 0, 0]).bool()}
    found = encoder.comparable(vectors, present)
    rows = torch.cat([vectors["abc"][present["abc"]], vectors["mtf"][present["mtf"]]])
    expected = unit((rows - rows.mean(0)) / rows.std(0, unbiased=False))
    torch.testing.assert_close(torch.cat([found[k][present[k]] for k in found]), expected, atol=1e-4, rtol=0)
    assert not found["abc"][2].any() and not found["mtf"][0].any()
    lonely = {"abc": torch.zeros(5, dtype=torch.bool), "mtf": torch.tensor([0, 1, 0, 0, 0]).bool()}
    assert encoder.comparable(vectors, lonely)["mtf"].isfinite().all()  # one row has no variance


@pytest.mark.parametrize("frozen", [(), ("text",)])
def test_the_exported_model_gives_the_compared_vectors(frozen):
    """What training compares is what a search finds, also beside a frozen tower, whose weights must not change."""
    encoder = PairEncoder(small_model(), standardise=("text", "symbolic"), frozen=frozen).train()
    for _ in range(20):  # until the running statistics are far from 0 and 1
        vectors = encoder(batch())
        encoder.comparable(vectors, everywhere(vectors))
    encoder.eval()
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    with torch.no_grad():
        plain = encoder(batch())
        expected = encoder.comparable(plain, everywhere(plain))
        exported = encoder.exported()
        found = PairEncoder(exported).eval()(batch())
    for view, want in expected.items():
        if view not in frozen:
            assert (unit(plain[view]) - want).abs().max() > 0.1  # the statistics do something
        torch.testing.assert_close(unit(found[view]), want, atol=1e-5, rtol=0)
    assert exported.state_dict().keys() == before.keys()
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, before[name]), f"export changed {name} of the model in training"
        if name.split("_")[0] in frozen:
            assert torch.equal(exported.state_dict()[name], before[name]), f"export changed the frozen {name}"
