"""The front ends of a checkpoint's towers: its tokenizer, how scores are read, what turns recordings into vectors.

`FRONT_ENDS` is the table of them. Nothing is opened before it is used: a text query never loads MERT, a cached one not
even the tokenizer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clamp3.errors import ConfigError, DataError, WeightsError
from clamp3.jobs.identity import NO_FRONT_END
from clamp3.modalities.audio import MelFrames
from clamp3.modalities.symbolic import AS_LEARNED, Reading

if TYPE_CHECKING:
    from clamp3.embedding.htcl_frames import HtclFrames
    from clamp3.formats.audio import Sound
    from clamp3.models.mert import Mert
    from clamp3.models.tokenizer import TextTokenizer
    from clamp3.models.weights import Described


_LARGE = 100_000  # tokens


class TowerTokenizer:
    """The tokenizer of a text tower.

    Parameters
    ----------
    folder : Path, str or None
        As `clamp3.models.tokenizer.load_tokenizer` takes it.
    n_rows : int or None
        Tokens that the tower knows, if that is known.
    weights : Path
        The tower's checkpoint, for messages.
    """

    def __init__(self, folder: Path | str | None, n_rows: int | None, weights: Path) -> None:
        self._folder, self._n_rows, self._weights = folder, n_rows, weights

    @property
    def is_small(self) -> bool:
        """Whether it may lack the words of a question, and is opened in no time: no multilingual one of 250,000."""
        return self._n_rows is not None and self._n_rows < _LARGE

    @property
    def loaded(self) -> TextTokenizer:
        """The tokenizer itself; a `WeightsError` is raised if it is absent or has more tokens than the tower."""
        if isinstance(self._found, WeightsError):
            raise self._found
        return self._found

    @cached_property
    def _found(self) -> TextTokenizer | WeightsError:
        """The tokenizer, or why there is none; it is looked for once."""
        from clamp3.models.tokenizer import load_tokenizer

        try:
            tokenizer = load_tokenizer(self._folder)
        except WeightsError as error:
            return error
        if self._n_rows is None or tokenizer.n_tokens <= self._n_rows:
            return tokenizer
        return WeightsError(
            f"the tokenizer in {self._folder} has {tokenizer.n_tokens} tokens, but the text tower "
            f"of {self._weights.name} knows {self._n_rows}; name the tokenizer it was trained with by --text_model."
        )

    def encode_lines(self, lines: list[str]) -> list[int]:
        """Return the ids of lines joined by the separator token."""
        return self.loaded.encode_lines(lines)


class MertVectors:
    """MERT's vectors of recordings, in this process; without MERT's weights only the recordings fail.

    Parameters
    ----------
    name_or_path : str, path or None
        As `clamp3.models.mert.Mert` takes it; None is the published one.
    width : int
        D, what the audio tower takes.
    dtype, device
        As `Mert` takes them.
    """

    apart = False

    def __init__(
        self,
        name_or_path: str | os.PathLike[str] | None,
        width: int,
        *,
        dtype: Literal["float32", "bfloat16"],
        device: str | None,
    ) -> None:
        self._name, self.width, self._dtype, self._device = name_or_path, width, dtype, device

    @property
    def chunk_sec(self) -> float:
        """Seconds of a chunk."""
        from clamp3.models.mert import CHUNK_SEC

        return CHUNK_SEC

    @property
    def identity(self) -> str:
        """MERT's, or `clamp3.jobs.identity.NO_FRONT_END`."""
        return NO_FRONT_END if isinstance(self._mert, str) else self._mert.identity

    @cached_property
    def _mert(self) -> Mert | str:
        """MERT, or why there is none."""
        from clamp3.models.mert import RELEASED, Mert

        try:
            return Mert(self._name or RELEASED, dtype=self._dtype, device=self._device)
        except (WeightsError, ConfigError) as error:
            return f"recordings need MERT with these weights: {error}"

    def vectors(self, sound: Sound, *, whole: bool) -> np.ndarray:
        """Return (T, D) vectors of a recording.

        Parameters
        ----------
        sound : Sound
            The recording.
        whole : bool
            Ignored: MERT takes every recording to its end.

        Raises
        ------
        DataError
            If there is no MERT, or its vectors have another width.
        """
        if isinstance(self._mert, str):
            raise DataError(self._mert)
        try:
            found = self._mert.features(sound)[0]  # (T, D)
        except (WeightsError, ConfigError) as error:  # not an error of the scores that are encoded with it
            raise DataError(f"{sound.name}: {error}") from None
        if found.shape[1] != self.width:
            raise DataError(
                f"{sound.name}: MERT's vectors have width {found.shape[1]}, the audio tower takes {self.width}; "
                "name the MERT it was trained with by --mert_model."
            )
        return found


@dataclass(frozen=True)
class Opening:
    """What a front end is opened with: the checkpoint it belongs to, and the settings of the encoder.

    Attributes
    ----------
    described : Described
        Sizes, tokenizer and path of the checkpoint.
    mert_model, dtype, device
        As `clamp3.embedding.clamp3.Clamp3.from_pretrained` takes them.
    reading : Reading
        What was asked for; what the model never learned is added.
    """

    described: Described
    mert_model: str | os.PathLike[str] | None
    dtype: Literal["float32", "bfloat16"]
    device: str | None
    reading: Reading = AS_LEARNED


def _tokenizer(opening: Opening) -> TowerTokenizer:
    described = opening.described
    return TowerTokenizer(described.tokenizer_dir, described.config.n_tokens("text"), described.path)


def _mert(opening: Opening) -> MertVectors:
    width = opening.described.config.feature_width
    return MertVectors(opening.mert_model, width, dtype=opening.dtype, device=opening.device)


def _htcl_mel(opening: Opening) -> HtclFrames:
    from clamp3.embedding.htcl_frames import HtclFrames

    return HtclFrames.of(opening.described.config)


FRONT_ENDS: dict[str, Callable[[Opening], Any]] = {
    "tokenizer": _tokenizer,
    "reading": lambda opening: replace(opening.reading, without=opening.described.family.without),
    "mert": _mert,
    "mel": lambda _: MelFrames(),
    "htcl_mel": _htcl_mel,
}
"""Functions that open a front end, by the name that `clamp3.models.config.ModelConfig.front_end_kind` gives."""
