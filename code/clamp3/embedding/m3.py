"""M3 on its own: vectors of scores and performances from a pre-training checkpoint."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clamp3.embedding.encoder import Dtype, Encoder
from clamp3.jobs.identity import Identity
from clamp3.modalities.symbolic import AS_LEARNED, Reading

if TYPE_CHECKING:
    from clamp3.embedding.batching import Tower


class M3(Encoder):
    """The encoder of an M3 pre-training checkpoint, for scores and performances.

    A global vector is the plain mean of the hidden states of all patches; M3 has no joint space with text.
    """

    def __init__(
        self, weights: Path, *, dtype: Dtype = "auto", device: str | None = None, reading: Reading = AS_LEARNED
    ) -> None:
        self._weights = weights
        super().__init__(dtype=dtype, device=device, cache=None, reading=reading)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "m3",
        *,
        epoch: int | None = None,
        dtype: Dtype = "auto",
        device: str | None = None,
        as_is: bool = False,
        correct: bool = False,
    ) -> M3:
        """Open weights by name or path.

        Parameters
        ----------
        name : str or path
            ``m3`` or a checkpoint file.
        epoch, dtype, device, as_is, correct
            As in `Clamp3.from_pretrained`, which also lists what is raised.
        """
        from clamp3.models.registry import resolve

        return cls(
            resolve(name, epoch=epoch), dtype=dtype, device=device, reading=Reading(as_is=as_is, correct=correct)
        )

    def _own_identity(self) -> Identity:
        from clamp3.models.registry import identity

        return Identity(identity(self._weights), self.dtype)

    def lacks(self, modality: str) -> str | None:
        """Return why inputs of a modality cannot be encoded, None if they can."""
        return None if modality == "symbolic" else "M3 takes scores and performances only."

    def _open_front_end(self, modality: str) -> Reading:
        from clamp3.models.families import FAMILIES

        return replace(self._reading, without=FAMILIES["m3"].without)

    def _load(self, modality: str) -> Tower:
        from clamp3.embedding.towers import load_tower

        return load_tower(self._weights, modality, family="m3", dtype=self.dtype, device=self._device)
