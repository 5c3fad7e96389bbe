"""HTCL's mel frames as what comes before its audio tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clamp3.formats.htcl_mel import HOP_SEC, LONGEST_SEC, HtclMel, standardised
from clamp3.models.htcl_config import HtclConfig

if TYPE_CHECKING:
    from clamp3.formats.audio import Sound


class HtclFrames:
    """Frames of a piece; see `clamp3.modalities.audio.FrontEnd`.

    Parameters
    ----------
    mel : HtclMel
    """

    apart = True
    chunk_sec = HOP_SEC

    def __init__(self, mel: HtclMel) -> None:
        self.mel = mel

    @classmethod
    def of(cls, config: HtclConfig) -> HtclFrames:
        """Return the frames that a model's audio tower reads."""
        audio = config.audio
        assert audio is not None
        return cls(HtclMel(audio.rate_hz, audio.low_hz, audio.high_hz, audio.n_bins, audio.n_frames))

    @property
    def width(self) -> int:
        """Numbers of a frame."""
        return self.mel.n_bins

    @property
    def identity(self) -> str:
        """What the frames depend on."""
        return self.mel.identity

    def vectors(self, sound: Sound, *, whole: bool) -> np.ndarray:
        """Return standardised frames.

        Parameters
        ----------
        sound : Sound
        whole : bool
            Whether to take all of it, without filling up, and not the first two minutes, filled up.

        Returns
        -------
        float32 array, shape (T, bins)
        """
        if whole:
            return standardised(self.mel.frames(sound.blocks()))
        return self.mel.piece(sound.blocks(LONGEST_SEC))
