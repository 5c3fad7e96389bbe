"""CLaMP 3 as an encoder of MARBLE (its second version), for probes of recordings.

MARBLE is not on PyPI; in a checkout of it a configuration names this class in place of its own::

    encoder:
      class_path: clamp3.adapters.marble.Clamp3Encoder
      init_args: {name: saas}

It takes the waveforms themselves, so the configuration has no ``audio_transforms`` that scale or normalise them.
MARBLE's own class of CLaMP 3 gives one vector per clip too.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.encoded import all_vectors
from clamp3.errors import ConfigError, DataError
from clamp3.sources import sentence


class Clamp3Encoder(nn.Module):
    """An encoder with the attributes and the result of MARBLE's: a tuple with one layer, shape (B, 1, D).

    Parameters
    ----------
    name : str, path or Clamp3
        As `Clamp3.from_pretrained` takes it, or an open model.
    train_mode : str
        Only ``freeze``: the encoder is not trained.
    windows_sec : float, optional
        One vector per passage of so many seconds, 5 or more, in place of one per clip: (B, T, D), for tasks over time.
    kwargs
        Further arguments of `Clamp3.from_pretrained`.
    """

    NAME = "CLaMP3"
    SAMPLING_RATE = 24_000
    TOKEN_RATE = 1

    def __init__(
        self, name: Any = "mini", *, train_mode: str = "freeze", windows_sec: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__()
        if train_mode != "freeze":
            raise ConfigError(f"train_mode is {train_mode!r}; this encoder is frozen: freeze.")
        self._model = name if isinstance(name, Clamp3) else Clamp3.from_pretrained(name, **kwargs)
        self._windows_sec = windows_sec
        self.NUM_FEATURES = self._model.width

    def forward(self, wavs: Tensor | None = None, *, texts: str | list[str] | None = None) -> tuple[Tensor]:
        """Return vectors of clips, or of texts.

        Parameters
        ----------
        wavs : float Tensor, shape (B, samples) or (B, 1, samples)
            Of one length, at ``SAMPLING_RATE``.
        texts : str or list of str
            In place of clips.

        Returns
        -------
        tuple of Tensor, shape (B, T, D)
            T is 1 without ``windows_sec``. On the device of the clips.

        Raises
        ------
        DataError
            If a clip or a text cannot be encoded.
        """
        if texts is not None:
            listed = [texts] if isinstance(texts, str) else texts
            return (self._vectors([sentence(text) for text in listed]),)
        if wavs is None:
            raise DataError("there is nothing to encode; give wavs or texts.")
        clips = [(clip.reshape(-1).cpu(), self.SAMPLING_RATE) for clip in wavs]
        return (self._vectors(clips, self._windows_sec).to(wavs.device),)

    def _vectors(self, items: list[Any], windows_sec: float | None = None) -> Tensor:
        encoded = self._model.encode(items, windows_sec=windows_sec, hop_sec=windows_sec, as_tensor=True)
        return all_vectors(encoded).reshape(len(items), -1, self._model.width)
