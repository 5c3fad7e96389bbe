"""CLaMP 3 as a feature extractor of frechet-music-distance.

    from frechet_music_distance import FrechetMusicDistance
    from clamp3.adapters.frechet_music_distance import Clamp3Extractor

    FrechetMusicDistance(feature_extractor=Clamp3Extractor("saas")).score("real/", "generated/")

It takes folders of scores, MIDI and recordings, in any mixture. That package keeps features by the path of a folder,
whatever the model and even if files change; this extractor keeps none, or single vectors by content if it is given a
cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clamp3.adapters import MissingPackageError
from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.encoded import all_vectors
from clamp3.errors import DataError
from clamp3.formats import Kind
from clamp3.jobs.walk import walk
from clamp3.modalities import AUDIO, SYMBOLIC
from clamp3.sources import Source

try:
    from frechet_music_distance.models import FeatureExtractor
except ImportError:
    raise MissingPackageError("this adapter needs frechet-music-distance: pip install 'clamp3[adapters]'.") from None


class Clamp3Extractor(FeatureExtractor):
    """Features of folders and files.

    Parameters
    ----------
    model : str, path or Clamp3
        As `Clamp3.from_pretrained` takes it, or an open model.
    verbose : bool
        Draw a bar.
    kwargs
        Further arguments of `Clamp3.from_pretrained`, such as ``cache``.
    """

    def __init__(self, model: Any = "mini", verbose: bool = True, **kwargs: Any) -> None:
        self._model = model if isinstance(model, Clamp3) else Clamp3.from_pretrained(model, **kwargs)
        self._verbose = verbose  # the base class would put its store of features around extract_features

    def extract_features(self, dataset_path: str | Path) -> NDArray[np.float32]:
        """Return vectors (N, D) of the music below a folder, sorted by path.

        Raises
        ------
        DataError
            If there is none, or a file cannot be encoded.
        """
        kinds = [kind for modality in (SYMBOLIC, AUDIO) for kind in modality.kinds if kind != Kind.FEATURES]
        found = walk(Path(dataset_path), kinds)
        if found.problems or not found.files:
            raise DataError(f"{dataset_path}: {found.problems[0].reason if found.problems else 'there is no music.'}")
        return self._extract_features(
            Source(one.kind, str(one.relative), path=one.path, piece=one.piece) for one in found.files
        )

    def extract_feature(self, filepath: str | Path) -> NDArray[np.float32]:
        """Return the vector of a file, shape (1, D); a `DataError` if it has none."""
        return self._extract_features([Path(filepath)])

    def _extract_features(self, data: Iterable[Any]) -> NDArray[np.float32]:
        return all_vectors(self._model.encode(data, progress=self._verbose))

    def _extract_feature(self, data: Any) -> NDArray[np.float32]:
        return self._extract_features([data])
