"""``features.json``: which weights, arithmetic and conversions the arrays of a folder come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clamp3.errors import ConfigError, FormatError, printable
from clamp3.formats import Kind
from clamp3.formats.fields import typed
from clamp3.formats.tables import read_json
from clamp3.jobs.atomic import write_text
from clamp3.jobs.identity import NO_FRONT_END, Identity

META_NAME = "features.json"


class Maker(Protocol):
    """What makes arrays of files: an encoder, or the features that an encoder takes."""

    @property
    def identity(self) -> str:
        """Text of the `Identity` of most arrays."""

    @property
    def preprocessing(self) -> str:
        """Version and options of everything between the bytes of an input and the model."""

    def identity_of(self, kind: Kind) -> str:
        """Return the text of the `Identity` of arrays of inputs of a kind."""


def claim_folder(output_dir: Path, maker: Maker, mode: str, *, recordings: bool = False) -> None:
    """Write what an output folder's arrays come from, or refuse a folder that has others.

    Parameters
    ----------
    output_dir : Path
        Made if absent.
    maker : Maker
        What the arrays will come from.
    mode : str
        What they are: "global", "temporal", "mert mean" …
    recordings : bool
        Whether there are recordings among the inputs: their front end is then noted too.

    Raises
    ------
    ConfigError
        If the folder's ``features.json`` names other weights, arithmetic, conversions or another kind of array.
    """
    identity = Identity.parse(maker.identity)
    wanted = {
        "arrays": mode,
        "weights": identity.space,
        "dtype": identity.dtype,
        "preprocessing": maker.preprocessing,
    }
    if recordings:
        wanted["recordings"] = maker.identity_of(Kind.AUDIO)
    found = read_meta(output_dir)
    if found is not None and found.keys() >= {"arrays", "weights"} and not any(output_dir.rglob("*.npy")):
        found = None  # ours, and nothing is mixed where nothing is
    known = wanted if found is None else found
    different = [
        f"{key} {known.get(key)!r}, now {value!r}"
        for key, value in wanted.items()
        if known.get(key) != value and (key != "recordings" or key in known)  # noted with the first recording
    ]
    if different:
        raise ConfigError(
            f"{printable(output_dir)} holds arrays that cannot be mixed with these ({'; '.join(different)}); "
            "give another output folder."
        )
    if found is None or (recordings and "recordings" not in found):
        noted = {**known, **wanted}
        if recordings and Identity.parse(wanted["recordings"]).front_end == NO_FRONT_END:
            del noted["recordings"]  # no recording becomes an array in this run
        write_text(output_dir / META_NAME, json.dumps(noted, indent=2) + "\n")


def read_meta(folder: Path) -> dict[str, Any] | None:
    """Return what the arrays of a folder come from, None if it does not say.

    Raises
    ------
    ConfigError
        If its ``features.json`` cannot be read.
    """
    path = folder / META_NAME
    try:
        value: dict[str, Any] | None = read_json(path, dict[str, Any] | None, error=ConfigError, default=None)
        typed(_Claim, value or {}, printable(path))
    except (ConfigError, FormatError) as error:
        raise ConfigError(f"{error} Move it away or give another folder.") from None
    return value


@dataclass(frozen=True)
class _Claim:
    """What a folder's arrays come from; the types of the fields that readers use."""

    arrays: str = ""
    weights: str = ""
    dtype: str = ""
    preprocessing: str = ""
    recordings: str = ""
