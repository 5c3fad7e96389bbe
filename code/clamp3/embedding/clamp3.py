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
from collections.abc import Iterable, Mapping, Sequence, Sized
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Union, cast, overload

import numpy as np
from numpy.typing import NDArray

from clamp3.embedding.encoded import (
    Encoded,
    Errors,
    Ranking,
    all_cosines,
    as_numpy,
    encoded_of,
    normalized,
    ranked,
    warn_of_failed,
)
from clamp3.embedding.encoder import Dtype, Encoder, Result
from clamp3.embedding.front_ends import FRONT_ENDS, Opening, TowerTokenizer
from clamp3.embedding.m3 import M3
from clamp3.embedding.passages import PassagePlan
from clamp3.embedding.topic import Topic, topic_of
from clamp3.errors import ConfigError, DataError, WeightsError
from clamp3.jobs.identity import Identity
from clamp3.jobs.progress import progress as bar
from clamp3.modalities.symbolic import AS_LEARNED, Reading
from clamp3.sources import Item, is_item

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Unpack

    from clamp3.embedding.batching import Tower
    from clamp3.embedding.onnx_towers import OnnxTowers
    from clamp3.jobs.cache import VectorCache
    from clamp3.models.tokenizer import TextTokenizer

__all__ = ["M3", "Clamp3", "Encoded", "Errors", "Ranking", "Result"]

Items = Item | Iterable[Item]
Comparable = Union[Items, "Encoded[Any]", NDArray[Any]]


class EncodeOptions(TypedDict, total=False):
    """Keywords of `Clamp3.encode`, for type checkers."""

    batch_size: int | None
    temporal: bool
    n_workers: int | None
    windows_sec: float | None
    hop_sec: float | None
    windows_bars: int | None
    hop_bars: int | None
    normalize: bool
    progress: bool


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

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that a small tokenizer lacks, such as mini's; none of a large one."""
        tokenizer: TowerTokenizer | None = self.front_end("text")
        return tokenizer.loaded.unknown_words(text) if tokenizer is not None and tokenizer.is_small else []

    def is_off_topic(self, vector: NDArray[Any]) -> bool:
        """Return whether the text with a vector is about something else than music; False if the model cannot tell."""
        return self._topic is not None and self._topic.excludes(vector)

    @cached_property
    def _topic(self) -> Topic | None:
        return topic_of(self._weights, self._described.identity)

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
            tower = self._exported.load(modality, self._device)
        else:
            tower = load_tower(
                self._weights, modality, text_model=self._text_model, dtype=self.dtype, device=self._device
            )
        self._require_same_weights()
        return tower

    @overload
    def encode(
        self, items: Items, *, as_tensor: Literal[False] = False, **options: Unpack[EncodeOptions]
    ) -> Encoded: ...

    @overload
    def encode(
        self, items: Items, *, as_tensor: Literal[True], **options: Unpack[EncodeOptions]
    ) -> Encoded[Tensor]: ...

    def encode(
        self,
        items: Items,
        *,
        batch_size: int | None = None,
        temporal: bool = False,
        n_workers: int | None = None,
        windows_sec: float | None = None,
        hop_sec: float | None = None,
        windows_bars: int | None = None,
        hop_bars: int | None = None,
        normalize: bool = False,
        progress: bool = False,
        as_tensor: bool = False,
    ) -> Encoded[Any]:
        r"""Encode sentences and files of any mixture.

        Parameters
        ----------
        items : iterable of str, path, bytes, Source, (bytes, Kind), (samples, rate), music21 or mido object
            As `clamp3.sources.source_of` takes them, a generator too; one alone is one input. A string that reads as a
            tune in ABC is one; `clamp3.sources.sentence` makes words of it.
        batch_size, temporal, n_workers
            As in `stream`.
        windows_sec, hop_sec, windows_bars, hop_bars : optional
            If one is given, one vector per passage: recordings and performances by seconds, scores by bars, texts as
            they are. What is not given is as in `clamp3.embedding.passages.PassagePlan`, a hop at most its window.
        normalize : bool
            Scale vectors to length 1, so that their products are cosines.
        progress : bool
            Draw a bar, in a notebook too.
        as_tensor : bool
            Return torch tensors on the device of the model in place of arrays.

        Returns
        -------
        Encoded
            One row per input. An input that cannot be encoded has an entry in ``errors`` and does not stop the others.

        Raises
        ------
        ConfigError
            If hidden states are to have length 1, a whole table is given, and as in `stream`.

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
        if normalize and temporal:
            raise ConfigError("hidden states are not scaled to length 1; leave normalize out.")
        if not is_item(items) and (isinstance(items, Mapping) or hasattr(items, "columns")):
            raise ConfigError("a table is not encoded as a whole; give one of its columns, as table['path'].")
        if is_item(items):
            items = [items]  # type: ignore[list-item]
        sizes = {"windows_sec": windows_sec, "hop_sec": hop_sec, "windows_bars": windows_bars, "hop_bars": hop_bars}
        plan = PassagePlan.of(sizes)
        total = len(items) if isinstance(items, Sized) else None
        stream = self.stream(items, batch_size=batch_size, temporal=temporal, n_workers=n_workers, passages=plan)  # type: ignore[arg-type]
        results = []
        with bar(total, "encoding", shown=progress, asked=True) as advance:
            for result in stream:
                results.append(result)
                advance(1)
        results.sort(key=lambda result: result.index)
        vectors = np.full((0 if plan else len(results), 0 if temporal else self.width), np.nan, np.float32)
        if plan is not None:
            vectors = np.concatenate([vectors, *(r.value for r in results if r.value is not None)])
        elif not temporal:
            for result in results:
                if result.value is not None:
                    vectors[result.index] = result.value
        if normalize:
            vectors = normalized(vectors).astype(np.float32)
        values: list[Any] = [result.value for result in results] if temporal else []
        return Encoded(
            self._tensor(vectors) if as_tensor else vectors,
            Errors(result.error for result in results),
            [result.name for result in results],
            [result.notes for result in results],
            [self._tensor(value) if as_tensor and value is not None else value for value in values],
            [passage for result in results for passage in result.passages],
            [result.index for result in results for _ in result.passages],
        )

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        import torch

        return torch.from_numpy(values).to(self.device)

    def similarity(self, first: Comparable, second: Comparable | None = None) -> NDArray[np.float64]:
        """Return the cosines of all pairs.

        Parameters
        ----------
        first, second : inputs, Encoded or float array (N, D) or (D,)
            One or several of what `encode` takes, what it returned, or vectors. Without ``second`` those of ``first``
            are compared with each other.

        Returns
        -------
        float64 array, shape (N, M)
            NaN for inputs without a vector, of which a warning says why.

        Examples
        --------
        >>> clamp3 = Clamp3.from_pretrained("mini")
        >>> clamp3.similarity(["a jig", "a chorale"], ["an Irish jig", "a hymn", "a reel"]).shape
        (2, 3)
        """
        sides = [encoded_of(side, self.encode) for side in (first, second) if side is not None]
        for side in sides:
            warn_of_failed(side)
        return all_cosines(as_numpy(sides[0].vectors), as_numpy(sides[-1].vectors))

    def rank(self, query: Comparable, candidates: Comparable, *, top_k: int | None = None) -> Ranking:
        r"""Rank candidates by their cosine to one query.

        Parameters
        ----------
        query : one input, its Encoded or its vector
        candidates : inputs, Encoded or float array (N, D)
        top_k : int, optional
            How many to return; None returns all.

        Raises
        ------
        DataError
            If the query has no vector, or is not one.

        Examples
        --------
        >>> clamp3 = Clamp3.from_pretrained("mini")
        >>> tunes = [f"X:1\nL:1/8\nM:{metre}\nK:G\n{bar * 4}" for metre, bar in (("6/8", "GAG GAB|"), ("C", "G8|"))]
        >>> clamp3.rank("an Irish jig", tunes, top_k=1)[0].index
        0
        """
        asked = encoded_of(query, self.encode)
        if len(asked.names) != 1 or asked.errors:
            reason = next((error for error in asked.errors if error), f"there are {len(asked.names)} of them.")
            raise DataError(f"rank takes one query with a vector: {reason}")
        return ranked(as_numpy(asked.vectors)[0], encoded_of(candidates, self.encode), top_k)

    def __repr__(self) -> str:
        loaded = f" ({', '.join(self._towers)} loaded)" * bool(self._towers)
        what = f"{self.identity}: {', '.join(self.config.towers)}{loaded}"
        return f"{type(self).__name__}({what}; width {self.width}, {self.dtype} on {self.device})"


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
