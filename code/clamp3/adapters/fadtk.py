"""CLaMP 3 as a model of fadtk, the toolkit of Fréchet audio distances.

    from fadtk import FrechetAudioDistance, cache_embedding_files
    from clamp3.adapters.fadtk import Clamp3Loader

    loader = Clamp3Loader("saas")
    for folder in ("real/", "generated/"):
        cache_embedding_files(folder, loader, workers=2)
    FrechetAudioDistance(loader).score("real/", "generated/")

fadtk models the vectors of short stretches of recordings, at least two per file: here of ten seconds, one every five,
which is as fine as these models are; of recordings up to ten seconds, of five; the one of up to five counts twice. It
keeps them below ``embeddings/`` beside the recordings, by the name of the model, which here holds the identity of the
weights.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from torch import Tensor

from clamp3.adapters import MissingPackageError
from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.encoded import all_vectors

try:
    from fadtk.model_loader import ModelLoader
except ImportError:
    raise MissingPackageError("this adapter needs fadtk, and what that needs: pip install fadtk.") from None

WINDOW_SEC, HOP_SEC = 10.0, 5.0
_RATE_HZ = 24_000


class Clamp3Loader(ModelLoader):
    """A model of fadtk; it opens the weights in every process for itself.

    Parameters
    ----------
    model : str or path
        As `Clamp3.from_pretrained` takes it.
    kwargs
        Further arguments of `Clamp3.from_pretrained`.
    """

    def __init__(self, model: Any = "mini", **kwargs: Any) -> None:
        self._asked = model, kwargs
        opened = self._opened()
        name = re.sub(r"[^\w.+-]+", "_", opened.identity)
        super().__init__(f"clamp3-{name}", opened.width, _RATE_HZ)

    def _opened(self) -> Clamp3:
        name, kwargs = self._asked
        return Clamp3.from_pretrained(name, **kwargs)

    def load_model(self) -> None:
        """Open the model in this process."""
        self.model = self._opened()

    def _get_embedding(self, audio: np.ndarray) -> Tensor:
        """Return the vectors (T, D) of a recording's passages, on the CPU."""
        assert self.model is not None
        for window_sec in (WINDOW_SEC, HOP_SEC):
            vectors: Tensor = all_vectors(
                self.model.encode([(audio, self.sr)], windows_sec=window_sec, hop_sec=HOP_SEC, as_tensor=True)
            )
            if len(vectors) > 1:
                break
        else:
            vectors = vectors.repeat(2, 1)
        return vectors.to(self.device)  # which fadtk chose
