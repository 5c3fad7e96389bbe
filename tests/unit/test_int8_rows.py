from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cosine_similarity

from clamp3.errors import WeightsError
from clamp3.models import int8_rows
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, TowerConfig
from clamp3.models.weights import load_model, save_safetensors

WORDS = "text_model.embeddings.word_embeddings.weight"
SIZES = Clamp3Config(
    text=TowerConfig(width=32, n_layers=1, n_heads=2, feed_forward=64, max_length=40, vocab_size=300, pad_id=1),
    hidden_size=16, text_length=30,
)  # fmt: skip


@pytest.mark.parametrize("lifted", [False, True])
def test_a_model_with_a_word_table_of_8_bits_gives_nearly_the_same_vectors(tmp_path, lifted):
    generator = torch.Generator().manual_seed(3)
    model = Clamp3Model(SIZES, generator=generator).eval()
    lift = torch.randn(32, 12, generator=generator).half().float() if lifted else None
    narrow = torch.randn(300, 12 if lifted else 32, generator=generator)
    with torch.no_grad():
        model.text_model.embeddings.word_embeddings.weight.copy_(narrow @ lift.T if lifted else narrow)
    save_safetensors(model, SIZES, tmp_path / "whole.safetensors")
    save_safetensors(model, SIZES, tmp_path / "small.safetensors", int8={WORDS: (narrow, lift)})
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("small", "whole")]
    assert sizes[0] < sizes[1] - 300 * 32 * 4 / 2
    ids = torch.randint(2, 300, (8, 20), generator=generator)
    found = [load_model(tmp_path / f"{name}.safetensors", ("text",)) for name in ("small", "whole")]
    small, whole = (one.model.text_features(ids) for one in found)
    assert cosine_similarity(small, whole).min() > 0.999  # what is asked of int8; one rounding is 1/254 of a row's most
    assert found[0].config == replace(found[1].config)


def test_rows_round_to_half_a_step_and_zeros_stay(tmp_path):
    matrix = torch.cat([torch.randn(5, 7), torch.zeros(1, 7)])
    held = int8_rows.pack("m", matrix)
    back = int8_rows.unpack("m", held.__getitem__, lifted=False)
    assert held["m.int8"].dtype == torch.int8
    assert ((back - matrix).abs() <= matrix.abs().amax(dim=1, keepdim=True) / 254 + 1e-7).all()
    assert not back[5].any()


def test_parts_that_do_not_fit_each_other_are_no_matrix(tmp_path):
    assert int8_rows.whole_shapes({"a.int8": (3, 2), "a.scale": (4,)}) == {"a.int8": (3, 2), "a.scale": (4,)}
    assert int8_rows.whole_shapes({"a.int8": (3, 2), "a.scale": (3,), "a.lift": (5, 3)}).keys() == {
        "a.int8", "a.scale", "a.lift",
    }  # fmt: skip
    model = Clamp3Model(SIZES, generator=torch.Generator().manual_seed(3))
    save_safetensors(model, SIZES, tmp_path / "m.safetensors", int8={WORDS: (torch.ones(300, 5), None)})
    with pytest.raises(WeightsError, match="300 × 5 instead of 300 × 32"):
        load_model(tmp_path / "m.safetensors", ("text",))
