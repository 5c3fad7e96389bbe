"""What reads the music of a training set: patches from a pack, audio features by the slice, anything else prepared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from clamp3.data.audio_features import FeatureFiles, open_features, read_header
from clamp3.data.disk_array import DiskArray, save_array
from clamp3.data.patch_pack import load_pack, read_symbolic, write_pack
from clamp3.data.prepared_files import index_prepared, load_prepared, prepared
from clamp3.data.shards import Location, Locations
from clamp3.modalities import AUDIO, MODALITIES, SYMBOLIC


class MusicFiles(Protocol):
    """Sequences of one modality's files, by number.

    Attributes
    ----------
    problems : mapping of int to str
        Why files cannot be used; where they have been left out already, it is empty.
    n_variants : int
        Ways to read a file: 0 is the whole; 1, where there is one, has no instruments.
    blank : array, shape (0, ...)
        A sequence without any item, for pieces without such a file.
    """

    @property
    def problems(self) -> Mapping[int, str]: ...  # noqa: D102
    @property
    def n_variants(self) -> int: ...  # noqa: D102
    @property
    def blank(self) -> np.ndarray: ...  # noqa: D102

    def length(self, index: int, variant: int = 0) -> int:
        """Return the number of items of a sequence, those on both ends included.

        Parameters
        ----------
        index : int
            Number of the file.
        variant : int
            Below ``n_variants``.
        """

    def read(self, index: int, part: slice, variant: int = 0) -> np.ndarray:
        """Return a part of a sequence, shape (T, ...).

        Parameters
        ----------
        index : int
            Number of the file.
        part : slice
            Which items.
        variant : int
            Below ``n_variants``.

        Raises
        ------
        FormatError
            If the file cannot be read any more.
        """


def index_files(tower: str, locations: Locations, stem: Path, *, width: int) -> Mapping[int, str]:
    """Read every file of a tower once and write what `open_files` needs.

    Parameters
    ----------
    tower : str
        A registered modality.
    locations : Locations
        Its files.
    stem : Path
        Beginning of the names of what is written.
    width : int
        Numbers of an audio vector.

    Returns
    -------
    mapping of int to str
        Why files cannot be used.
    """
    if tower == SYMBOLIC.name:
        write_pack(locations, stem)
        return load_pack(stem).problems
    if tower == AUDIO.name:
        features = open_features(locations, width)
        save_array(stem.with_suffix(".npy"), np.asarray(features.lengths))
        return features.problems
    return index_prepared(MODALITIES[tower], locations, stem)


def open_files(tower: str, locations: Locations, stem: Path, *, width: int) -> MusicFiles:
    """Return what reads the files of a tower; arguments as of `index_files`."""
    if tower == SYMBOLIC.name:
        return load_pack(stem)
    if tower == AUDIO.name:
        return FeatureFiles(locations, width, DiskArray(stem.with_suffix(".npy")), {})
    return load_prepared(MODALITIES[tower], locations, stem)


def check_file(tower: str, location: Location) -> int:
    """Return the width of a file's vectors, 0 if they are patches.

    Parameters
    ----------
    tower : str
        A registered modality.
    location : Location

    Raises
    ------
    FormatError
        If it cannot be used.
    """
    if tower == SYMBOLIC.name:
        read_symbolic(location)
        return 0
    if tower == AUDIO.name:
        return read_header(location)[1]
    return int(prepared(MODALITIES[tower], location).shape[-1])
