"""What the tests of several processes share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from training_music import write_music, write_text_model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder with a small training set and a text model."""
    folder = tmp_path_factory.mktemp("data")
    write_text_model(folder)
    return write_music(folder)


@pytest.fixture(scope="module")
def ranks(request, tmp_path_factory):
    """Return what each process of the module's ``one_rank(rank, folder)`` has saved there; there are ``WORLD``."""
    import torch

    folder, world = tmp_path_factory.mktemp("ranks"), request.module.WORLD
    torch.multiprocessing.spawn(request.module.one_rank, args=(folder,), nprocs=world)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]
