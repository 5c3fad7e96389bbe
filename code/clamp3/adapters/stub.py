"""A model for tests of programs that use this package: no weights, no files, no network, the same calls.

    from clamp3.adapters.stub import StubClamp3

    model = StubClamp3()
    model.encode(["a jig", "tune.abc", "take.wav"]).vectors  # (3, 32), of random but always the same weights

Inputs are read as the real model reads them, errors included; what the vectors say of music is nothing.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.encoder import Dtype, Encoder
from clamp3.jobs.identity import Identity
from clamp3.modalities.audio import MelFrames
from clamp3.models.config import Clamp3Config, FrontEndConfig, TowerConfig
from clamp3.models.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from clamp3.embedding.batching import Tower
    from clamp3.jobs.cache import VectorCache

_N_TOKENS = 1024
_LENGTHS = {"text": 32, "symbolic": 32, "audio": 16}


class StubClamp3(Clamp3):
    r"""A `Clamp3` of three towers of one small layer each, with random weights of a seed.

    Parameters
    ----------
    width : int
        D, width of the joint space, a multiple of 4.
    seed : int
        Of the weights: equal ones give equal vectors, on one processor to the last bit.
    dtype, device, cache
        As `Clamp3.from_pretrained` takes them.

    Examples
    --------
    >>> model = StubClamp3()
    >>> encoded = model.encode(["a jig", "X:1\nL:1/8\nK:G\nGAG GAB|", "lost.mid"])
    >>> encoded
    Encoded(3 inputs, vectors (3, 32) float32, 1 without a vector (see errors))
    >>> bool((encoded.vectors[:2] == StubClamp3().encode(["a jig", "X:1\nL:1/8\nK:G\nGAG GAB|"]).vectors).all())
    True
    """

    def __init__(
        self,
        *,
        width: int = 32,
        seed: int = 0,
        dtype: Dtype = "auto",
        device: str | None = None,
        cache: VectorCache | None = None,
    ) -> None:
        sizes = {"width": width, "n_layers": 1, "n_heads": 4, "feed_forward": 2 * width, "max_length": 34}
        self.config = Clamp3Config(
            text=TowerConfig(**sizes, vocab_size=_N_TOKENS, type_vocab_size=1, pad_id=1),
            symbolic=TowerConfig(**sizes),
            audio=TowerConfig(**sizes),
            hidden_size=width,
            front_end=FrontEndConfig(kind="mel", channels=8),
            **{f"{name}_length": length for name, length in _LENGTHS.items()},
        )
        self._seed = seed
        Encoder.__init__(self, dtype=dtype, device=device, cache=cache)

    def _own_identity(self) -> Identity:
        digest = hashlib.sha256(f"{self.config} {self._seed}".encode()).hexdigest()[:12]
        return Identity(f"stub-{digest}", self.dtype)

    def confirm(self) -> None:
        """Do nothing: there is no file that could have changed."""

    def lacks(self, modality: str) -> str | None:
        """Return why inputs of a modality cannot be encoded, None if they can."""
        return None if modality in self.config.towers else f"there is no {modality} tower in the stub."

    def is_off_topic(self, vector: NDArray[Any]) -> bool:
        """Return False."""
        return False

    def _open_front_end(self, modality: str) -> Any:
        return {"text": _Words(), "symbolic": self._reading, "audio": MelFrames()}[modality]

    def _load(self, modality: str) -> Tower:
        import torch

        from clamp3.embedding.towers import tower_of
        from clamp3.models.clamp3 import Clamp3Model
        from clamp3.models.device import pick_device

        where, kind = pick_device(self._device), getattr(torch, self.dtype)
        model = Clamp3Model(self.config, generator=torch.Generator().manual_seed(self._seed)).eval().to(where, kind)
        model.get_submodule(self.config.projection(modality)).float()
        return tower_of(model, self.config, modality, where, kind)


class _Words:
    """A tokenizer without a vocabulary: words by their checksum, between 0 and 2."""

    is_small = False  # it lacks no word
    loaded = TextTokenizer(
        sep="</s>",
        pad_id=1,
        n_tokens=_N_TOKENS,
        _encode=lambda text: [0, *(3 + zlib.crc32(word.encode()) % (_N_TOKENS - 3) for word in text.split()), 2],
    )

    def encode_lines(self, lines: list[str]) -> list[int]:
        """Return the ids of lines."""
        return self.loaded.encode_lines(lines)
