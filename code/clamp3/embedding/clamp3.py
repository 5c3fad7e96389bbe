"""Any input to vectors of the joint space, with a reason for each input that has none.

    from clamp3.embedding.clamp3 import Clamp3

    clamp3 = Clamp3.from_pretrained("mini")
    encoded = clamp3.encode(["a lively jig for fiddle", "tune.abc", "sonata.mxl", "prelude.mid", "take3.mp3"])
    encoded.vectors  # (5, D) float32
    encoded.errors   # None, or one sentence, per input: [None, None, "sonata.mxl is no MusicXML …", None, None]

Towers are loaded when the first input needs them, so that a text query to cached scores reads the text tower alone.
Vectors do not depend on what else is encoded with them (float32: to 5e-6), and are not normalised.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from clamp3.embedding.encoder import Dtype, Encoder, Result
from clamp3.embedding.front_ends import FRONT_ENDS, Opening, TowerTokenizer
from clamp3.embedding.passages import Passage, PassagePlan
from clamp3.errors import ConfigError, WeightsError
from clamp3.jobs.identity import Identity
from clamp3.modalities.symbolic import AS_LEARNED, Reading
from clamp3.sources import Item, is_item

if TYPE_CHECKING:
    from clamp3.embedding.batching import Tower
    from clamp3.embedding.onnx_towers import OnnxTowers
    from clamp3.jobs.cache import VectorCache
    from clamp3.models.tokenizer import TextTokenizer

__all__ = ["M3", "Clamp3", "Encoded", "Errors", "Result"]


class Errors(list["str | None"]):
    """For each input one sentence on why it has no vector, None if it has one; true if any has none.

    Examples
    --------
    >>> bool(Errors([None, None])), bool(Errors([None, "lost.mid does not exist."]))
    (False, True)
    """

    def __bool__(self) -> bool:
        return any(error is not None for error in self)


@dataclass(frozen=True, repr=False)
class Encoded:
    """Vectors of several inputs, in their order.

    Attributes
    ----------
    vectors : float32 array, shape (N, D)
        Global vectors, NaN rows for inputs with an error; (N, 0) in temporal mode. Of passages, a row for each, input
        after input.
    errors : Errors
        A list: for each input one sentence on why it has no vector, None if it has one. True if any has none.
    names : list of str
        Name of each input in messages.
    notes : list of tuple of str
        Remarks on the conversion of each input.
    temporal : list of arrays or None
        Hidden states (1, T, D) of each input; empty unless asked for.
    passages : list of Passage
        Where each row of ``vectors`` lies in its piece; empty unless asked for.
    owners : list of int
        Number of the input that each passage belongs to.
    """

    vectors: np.ndarray
    errors: Errors
    names: list[str]
    notes: list[tuple[str, ...]]
    temporal: list[np.ndarray | None] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    @property
    def ok(self) -> np.ndarray:
        """Boolean array (N,), True where an input has a vector."""
        return np.array([error is None for error in self.errors], bool)

    def __repr__(self) -> str:
        failed = sum(error is not None for error in self.errors)
        parts = [f"{len(self.names)} inputs", f"vectors {self.vectors.shape} {self.vectors.dtype}"]
        parts += [f"{len(self.passages)} passages"] * bool(self.passages) + ["hidden states"] * bool(self.temporal)
        parts += [f"{failed} without a vector (see errors)"] * bool(failed)
        return f"Encoded({', '.join(parts)})"


class Clamp3(Encoder):
    """CLaMP 3 for inference; make it with `from_pretrained`."""

    def __init__(
        self,
        weights: Path,
        *,
        text_model: str | os.PathLike[str] | None = None,
        mert_model: str | os.PathLike[str] | None = None,
        dtype: Dtype = "auto",
        device: str | None = None,
        cache: VectorCache | None = None,
        reading: Reading = AS_LEARNED,
        exported: OnnxTowers | None = None,
    ) -> None:
        from clamp3.models.weights import describe

        self._weights, self._stamp = weights, _stamp(weights)
        self._text_model, self._mert_model, self._exported = text_model, mert_model, exported
        self._described = exported.described if exported else describe(weights, text_model=text_model)
        self._described.family.require_joint(weights)
        self.config = self._described.config
        super().__init__(dtype=dtype, device=device, cache=cache, reading=reading)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "mini",
        *,
        text_model: str | os.PathLike[str] | None = None,
        mert_model: str | os.PathLike[str] | None = None,
        epoch: int | None = None,
        dtype: Dtype | Literal["int8"] = "auto",
        device: str | None = None,
        towers: Sequence[str] | None = None,
        cache: VectorCache | os.PathLike[str] | None = None,
        as_is: bool = False,
        correct: bool = False,
        backend: Literal["torch", "onnx"] | None = None,
    ) -> Clamp3:
        """Open weights by name or path; towers are loaded when they are first needed.

        Parameters
        ----------
        name : str or path
            ``mini``, ``saas``, ``c2``, or a checkpoint file, or a folder that ``clamp3 export`` has written.
        text_model : str or path, optional
            Folder or Hugging Face name of the text tower's tokenizer and sizes, for weights that carry none.
        mert_model : str or path, optional
            Folder or Hugging Face name of MERT, with which checkpoints that have a MERT front end encode recordings;
            None is the published one. Text, scores, MIDI and mel front ends never need it.
        epoch : int, optional
            Checkpoint of this epoch in place of the best one.
        dtype : {"auto", "float32", "bfloat16", "int8"}
            Arithmetic of the towers. auto is float32: the published numbers. int8 is for the backend onnx
            only, bfloat16 is not.
        device : str, optional
            As torch names it; None takes the GPU if there is one.
        towers : sequence of {"text", "symbolic", "audio"}, optional
            Load these now instead of with the first input that needs them.
        cache : VectorCache or path, optional
            Where vectors are kept between runs; None keeps none.
        as_is : bool
            Encode ABC as it is written. Without it standard ABC is interleaved first, because all that the models
            learned was; the released scripts give a vector of whatever stands in the file.
        correct : bool
            Mend what the released converters of scores get wrong in silence (`clamp3.formats.symbolic.to_symbolic`).
        backend : {"torch", "onnx"}, optional
            What computes the towers; onnx is onnxruntime on the CPU (`clamp3.embedding.onnx_towers`). None is onnx for
            a folder of exported towers, else torch.

        Raises
        ------
        WeightsError
            If the weights are absent, incomplete or unsafe.
        ConfigError
            If a value is none of the above, or a tower in ``towers`` is not in the weights.

        Examples
        --------
        >>> clamp3 = Clamp3.from_pretrained("mini")  # comes with the package
        >>> clamp3.width, clamp3.config.towers, clamp3.dtype
        (256, ('text', 'symbolic', 'audio'), 'float32')
        """
        if backend not in (None, "torch", "onnx"):
            raise ConfigError(f"backend is {backend!r}; choose torch or onnx.")
        from clamp3.models.registry import EXPORT, resolve

        exported: OnnxTowers | None = None
        if backend == "onnx" or (backend is None and (Path(name).expanduser() / EXPORT).is_file()):
            from clamp3.embedding.onnx_towers import open_towers

            exported = open_towers(name, dtype=dtype, device=device, epoch=epoch, text_model=text_model)
            weights, dtype, device = exported.path, "float32", "cpu"
        else:
            weights = resolve(name, epoch=epoch)
        model = cls(
            weights,
            text_model=text_model,
            mert_model=mert_model,
            dtype=cast(Dtype, dtype),  # `Encoder` refuses others
            device=device,
            cache=_opened(cache),
            reading=Reading(as_is=as_is, correct=correct),
            exported=exported,
        )
        for tower in towers or ():
            model.load(tower)
        return model

    @property
    def width(self) -> int:
        """D, width of the joint space."""
        return self.config.hidden_size

    def _own_identity(self) -> Identity:
        from clamp3.models.tokenizer import tokenizer_mark

        mark = tokenizer_mark(self._text_model or self._described.tokenizer_dir)
        exported = self._exported
        found = exported.identity(mark) if exported else Identity(self._described.identity, self.dtype, mark)
        self._require_same_weights()
        return found

    def confirm(self) -> None:
        """Read the weights anew; see `Encoder.confirm`."""
        self._exported.confirm() if self._exported else super().confirm()

    def _require_same_weights(self) -> None:
        """Raise a WeightsError if the file has changed: towers are read when they are first needed."""
        if _stamp(self._weights) != self._stamp:
            raise WeightsError(f"{self._weights} was replaced while it was in use; open it again.")

    def lacks(self, modality: str) -> str | None:
        """Return why inputs of a modality cannot be encoded, None if they can."""
        if modality in self.config.towers:
            return None
        return f"it needs the {modality} tower; {self._weights.name} has {' and '.join(self.config.towers)} only."

    def tokenizer(self) -> TextTokenizer:
        """Return the text tower's tokenizer; without a text tower, a ConfigError is raised."""
        self.config.restrict(["text"])
        tokenizer: TowerTokenizer = self.front_end("text")
        return tokenizer.loaded

    def _open_front_end(self, modality: str) -> Any:
        kind = self.config.front_end_kind(modality)
        opening = Opening(self._described, self._mert_model, self.dtype, self._device, self._reading)
        return FRONT_ENDS[kind](opening) if kind else None

    def _load(self, modality: str) -> Tower:
        from clamp3.embedding.towers import load_tower

        if self._exported:
            tower = self._exported.load(modality)
        else:
            tower = load_tower(
                self._weights, modality, text_model=self._text_model, dtype=self.dtype, device=self._device
            )
        self._require_same_weights()
        return tower

    def encode(
        self,
        items: Iterable[Item],
        *,
        batch_size: int | None = None,
        temporal: bool = False,
        n_workers: int | None = None,
        windows_sec: float | None = None,
        hop_sec: float | None = None,
        windows_bars: int | None = None,
        hop_bars: int | None = None,
    ) -> Encoded:
        r"""Encode sentences and files of any mixture.

        Parameters
        ----------
        items : iterable of str, path, bytes, Source, (bytes, Kind), (samples, rate), music21 or mido object
            As `clamp3.sources.source_of` takes them; one alone is one input. A string that reads as a tune in ABC is
            one; `clamp3.sources.sentence` makes words of it.
        batch_size, temporal, n_workers
            As in `stream`.
        windows_sec, hop_sec, windows_bars, hop_bars : optional
            If one is given, one vector per passage: recordings and performances by seconds, scores by bars, texts as
            they are. What is not given is as in `clamp3.embedding.passages.PassagePlan`.

        Returns
        -------
        Encoded
            One row per input. An input that cannot be encoded has an entry in ``errors`` and does not stop the others.

        Examples
        --------
        >>> from clamp3.formats import Kind
        >>> clamp3 = Clamp3.from_pretrained("mini")
        >>> tune = b"X:1\nT:The Kesh\nM:6/8\nK:G\nGAG GAB|ABA ABd|edd gdd|edB dBA|\n"
        >>> encoded = clamp3.encode(["an Irish jig", "lost.mid", (tune, Kind.ABC)])
        >>> encoded
        Encoded(3 inputs, vectors (3, 256) float32, 1 without a vector (see errors))
        >>> encoded.ok.tolist(), encoded.errors[1]
        ([True, False, True], 'lost.mid does not exist (to encode these words, add some that are no file name).')
        >>> parts = clamp3.encode([(tune, Kind.ABC)], windows_bars=2, hop_bars=2)
        >>> [str(passage) for passage in parts.passages], parts.vectors.shape
        (['bars 1-2', 'bars 3-4'], (2, 256))
        """
        if is_item(items):
            items = [items]  # type: ignore[list-item]
        sizes = {"windows_sec": windows_sec, "hop_sec": hop_sec, "windows_bars": windows_bars, "hop_bars": hop_bars}
        given = {name: size for name, size in sizes.items() if size is not None}
        plan = PassagePlan(**given) if given else None  # type: ignore[arg-type]
        results = sorted(
            self.stream(items, batch_size=batch_size, temporal=temporal, n_workers=n_workers, passages=plan),
            key=lambda result: result.index,
        )
        vectors = np.full((0 if plan else len(results), 0 if temporal else self.width), np.nan, np.float32)
        if plan is not None:
            vectors = np.concatenate([vectors, *(r.value for r in results if r.value is not None)])
        elif not temporal:
            for result in results:
                if result.value is not None:
                    vectors[result.index] = result.value
        return Encoded(
            vectors,
            Errors(result.error for result in results),
            [result.name for result in results],
            [result.notes for result in results],
            [result.value for result in results] if temporal else [],
            [passage for result in results for passage in result.passages],
            [result.index for result in results for _ in result.passages],
        )


class M3(Encoder):
    """The encoder of an M3 pre-training checkpoint, for scores and performances.

    A global vector is the plain mean of the hidden states of all patches; M3 has no joint space with text.
    """

    def __init__(
        self, weights: Path, *, dtype: Dtype = "auto", device: str | None = None, reading: Reading = AS_LEARNED
    ) -> None:
        self._weights = weights
        super().__init__(dtype=dtype, device=device, cache=None, reading=reading)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "m3",
        *,
        epoch: int | None = None,
        dtype: Dtype = "auto",
        device: str | None = None,
        as_is: bool = False,
        correct: bool = False,
    ) -> M3:
        """Open weights by name or path.

        Parameters
        ----------
        name : str or path
            ``m3`` or a checkpoint file.
        epoch, dtype, device, as_is, correct
            As in `Clamp3.from_pretrained`, which also lists what is raised.
        """
        from clamp3.models.registry import resolve

        return cls(
            resolve(name, epoch=epoch), dtype=dtype, device=device, reading=Reading(as_is=as_is, correct=correct)
        )

    def _own_identity(self) -> Identity:
        from clamp3.models.registry import identity

        return Identity(identity(self._weights), self.dtype)

    def lacks(self, modality: str) -> str | None:
        """Return why inputs of a modality cannot be encoded, None if they can."""
        return None if modality == "symbolic" else "M3 takes scores and performances only."

    def _open_front_end(self, modality: str) -> Reading:
        from clamp3.models.families import FAMILIES

        return replace(self._reading, without=FAMILIES["m3"].without)

    def _load(self, modality: str) -> Tower:
        from clamp3.embedding.towers import load_tower

        return load_tower(self._weights, modality, family="m3", dtype=self.dtype, device=self._device)


def _opened(cache: VectorCache | os.PathLike[str] | None) -> VectorCache | None:
    from clamp3.jobs.cache import VectorCache

    return cache if cache is None or isinstance(cache, VectorCache) else VectorCache(Path(cache))


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file is replaced or written to."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0, 0
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
