"""A program of a user, checked by `mypy --strict` in `test_typed_user.py`; every line of it is meant to be typical."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

from clamp3 import Clamp3, Reward
from clamp3.embedding.clamp3 import Encoded, Ranking
from clamp3.formats import Kind


def titles(encoded: Encoded) -> list[str]:
    return [name for name, error in zip(encoded.names, encoded.errors, strict=True) if error is None]


def pieces(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.mid")


def vectors_of(model: Clamp3, folder: Path) -> NDArray[np.float32]:
    encoded = model.encode(pieces(folder), batch_size=8, normalize=True, progress=True)
    assert_type(encoded.vectors, NDArray[np.float32])
    return encoded.vectors[encoded.ok]


def closest(query: str, folder: Path) -> str:
    with Clamp3.from_pretrained("mini", device="cpu", dtype="float32") as model:
        ranking = model.rank(query, [query, Path("a.abc"), (b"X:1", Kind.ABC), (np.zeros(9), 44_100)], top_k=5)
        assert_type(ranking, Ranking)
        for one in ranking:
            print(one.rank, one.index, one.score + 1.0)
        scores: NDArray[np.float64] = model.to("cpu").similarity(vectors_of(model, folder), query)
        print(scores.shape, model.width, model.device, model.encode(Path("a.abc")).ok.all(), titles(model.encode("a")))
        tensors = model.encode(["a jig"], as_tensor=True).vectors
        print(tensors.shape)
        reward = Reward(model, "an Irish jig", kind="abc", broken=-1.0)
        print(reward(["X:1"]).mean(), reward.score([b"X:1"], prompts=["a jig"]).errors[0])
        return ranking[0].name
