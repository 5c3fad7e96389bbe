"""CLaMP 3 as an encoder of mteb, for its tasks of texts and recordings.

    import mteb
    from clamp3.adapters.mteb import Clamp3Encoder

    mteb.evaluate(Clamp3Encoder("saas"), mteb.get_tasks(tasks=["GTZANGenre"]))

Recordings are decoded by this package (mteb's own way needs torchcodec and torchaudio), at any rate and number of
channels. Rows with words and a recording have the mean of both unit vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clamp3.adapters import MissingPackageError
from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.cosines import unit_rows
from clamp3.embedding.encoded import all_vectors
from clamp3.errors import DataError
from clamp3.formats import Kind
from clamp3.sources import sentence

try:
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta, ScoringFunction
except ImportError:
    raise MissingPackageError("this adapter needs mteb, 2.0 or later: pip install 'clamp3[adapters]'.") from None

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


class Clamp3Encoder(AbsEncoder):
    """An encoder of texts and recordings.

    Parameters
    ----------
    model_name : str, path or Clamp3
        As `Clamp3.from_pretrained` takes it, or an open model.
    revision : str, optional
        Ignored: the identity of the weights is the revision of the results.
    device : str, optional
        As torch names it; None takes the GPU if there is one.
    kwargs
        Further arguments of `Clamp3.from_pretrained`.
    """

    def __init__(
        self, model_name: Any = "mini", revision: str | None = None, *, device: str | None = None, **kwargs: Any
    ) -> None:
        opened = isinstance(model_name, Clamp3)
        self.model: Clamp3 = model_name if opened else Clamp3.from_pretrained(model_name, device=device, **kwargs)
        self.mteb_model_meta = _meta(self.model)

    def encode(self, inputs: DataLoader[Any], **kwargs: Any) -> NDArray[np.float32]:
        """Return vectors (N, D) of all rows.

        Parameters
        ----------
        inputs : DataLoader
            Of rows with ``text``, ``audio`` or both.
        kwargs
            What else mteb says of task and split; nothing here depends on it.

        Raises
        ------
        DataError
            If a row cannot be encoded: a task has no place for what is missing.
        """
        found = [self._rows(batch) for batch in _undecoded(inputs)]
        return np.concatenate(found) if found else np.zeros((0, self.model.width), np.float32)

    def _rows(self, batch: dict[str, Any]) -> NDArray[np.float32]:
        sides = []
        if "audio" in batch:
            sides.append(self._vectors([_recording(one) for one in batch["audio"]]))
        if "text" in batch:
            sides.append(self._vectors([sentence(text) for text in batch["text"]]))
        if not sides:
            raise DataError(f"CLaMP 3 encodes text and audio; the rows of this task have {', '.join(sorted(batch))}.")
        if len(sides) == 1:
            return sides[0]
        mean = sum(map(unit_rows, sides)) / len(sides)
        return np.asarray(mean, np.float32)

    def _vectors(self, items: list[Any]) -> NDArray[np.float32]:
        return all_vectors(self.model.encode(items))


def _undecoded(inputs: DataLoader[Any]) -> DataLoader[Any]:
    """Return the same rows, with recordings as they lie in the data set."""
    audio = (getattr(inputs.dataset, "features", None) or {}).get("audio")
    if not getattr(audio, "decode", False):
        return inputs
    from datasets import Audio
    from torch.utils.data import DataLoader

    dataset: Any = inputs.dataset
    rows = dataset.cast_column("audio", Audio(decode=False))
    return DataLoader(rows, batch_size=inputs.batch_size, collate_fn=inputs.collate_fn)


def _recording(row: Any) -> Any:
    """Return the recording of a row, decoded or not, as `Clamp3.encode` takes it."""
    if isinstance(row, dict) and "array" not in row:
        return (row["bytes"], Kind.AUDIO) if row.get("bytes") else row["path"]
    return row


def _meta(model: Clamp3) -> ModelMeta:
    name, _, revision = model.identity.partition("-")
    known: dict[str, Any] = {name: None for name, field in ModelMeta.model_fields.items() if field.is_required()}
    known |= {
        "loader": Clamp3Encoder,
        "name": f"clamp3/{name}",
        "revision": revision,
        "languages": [],
        "embed_dim": model.width,
        "license": "mit",
        "open_weights": True,
        "framework": ["PyTorch"],
        "similarity_fn_name": ScoringFunction.COSINE,
        "use_instructions": False,
        "modalities": ["text", "audio"],
    }
    return ModelMeta(**known)
