"""Pictures that clients send: described in words by BLIP, so that they are questions by words."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from clamp3.errors import Clamp3Error, ConfigError, WeightsError
from clamp3.jobs.parallel import Workers
from clamp3.metadata import captions
from clamp3.server.errors import RefusedError

_MOST_PIXELS = 2048  # per side of what leaves the worker; BLIP looks at 384


@dataclass(frozen=True)
class _Job:
    data: bytes
    name: str


class Pictures:
    """Describes pictures; the model is loaded with the first one, and a worker process decodes them.

    Parameters
    ----------
    model : str
        Folder or hub name; with "" the usual one, only if it is on this computer already.
    """

    def __init__(self, model: str) -> None:
        self._model, self._lock = model, threading.Lock()
        self._captioner: captions.Captioner | None = None
        self._workers: Workers[_Job, np.ndarray] = Workers(_decoded, timeout_sec=60.0, memory_limit_mb=2048)

    def caption(self, data: bytes, name: str) -> str:
        """Return what is in a picture.

        Parameters
        ----------
        data : bytes
            A file of one of `clamp3.metadata.captions.SUFFIXES`.
        name : str
            For errors.

        Raises
        ------
        RefusedError
            If pillow or the model is not there.
        Clamp3Error
            If the picture cannot be read.
        """
        describe = self._loaded()
        [outcome] = self._workers.map([_Job(data, name)], n_workers=1)
        if outcome.value is None:
            raise Clamp3Error(f"{name}: {(outcome.error or 'it cannot be read').rstrip('.')}.")
        [text] = describe([_image(outcome.value)])
        if not text:
            raise Clamp3Error(f"{name}: the model found no words for it.")
        return text

    def _loaded(self) -> captions.Captioner:
        with self._lock:
            if self._captioner is None:
                options = captions.BlipOptions(self._model or captions.DEFAULT_MODEL)
                try:
                    self._captioner = captions.load_blip(options, local=not self._model)
                except ConfigError:
                    raise RefusedError(503, "questions by pictures need pillow: pip install 'clamp3[text]'.") from None
                except WeightsError:
                    how = "run clamp3 caption once, or give clamp3 serve --caption_model FOLDER"
                    what = f"questions by pictures need the model BLIP, which is not on this computer: {how}."
                    raise RefusedError(503, what) from None
            return self._captioner


def _decoded(job: _Job) -> np.ndarray:
    image = captions.open_image(job.data)
    image.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    return np.asarray(image)


def _image(pixels: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)
