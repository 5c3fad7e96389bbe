"""Any input to vectors of the joint space, with a reason for each input that has none.

    from clamp3.embed import Clamp3

    clamp3 = Clamp3.from_pretrained("mini")
    encoded = clamp3.encode(["a lively jig for fiddle", "tune.abc", "sonata.mxl", "prelude.mid"])
    encoded.vectors  # (4, D) float32
    encoded.errors   # [None, None, "sonata.mxl is no MusicXML …", None]

Towers are loaded when the first input needs them, so that a text question to cached scores reads the text tower
alone. Vectors do not depend on what else is encoded with them (float32: to 5e-6), and are not normalised.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clamp3.errors import Clamp3Error, ConfigError, DataError, FormatError
from clamp3.inputs import (
    Item,
    Modality,
    Prepared,
    Source,
    audio_sequence,
    digest,
    modality_of,
    needs_process,
    preprocessing,
    source_of,
    symbolic_sequence,
    text_of,
)

if TYPE_CHECKING:
    from clamp3.batching import Tower
    from clamp3.jobs.cache import VectorCache
    from clamp3.models.tokenizer import TextTokenizer

Dtype = Literal["auto", "float32", "bfloat16"]

# One round: what is read, converted, sorted by length and encoded together; bounds the memory of long jobs.
_ROUND_ITEMS = 512
_ROUND_BYTES = 64 << 20
# Fewer conversions than this are quicker here than in processes that have to start.
_MIN_FOR_PROCESSES = 3
_TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536}


@dataclass(frozen=True)
class Result:
    """What became of one input.

    Attributes
    ----------
    index : int
        Place among the inputs, from 0.
    value : float32 array or None
        (D,) global vector, or (1, T, D) hidden states; None if there is an error.
    error : str or None
        One sentence.
    notes : tuple of str
        What a user should know about the conversion.
    sha256 : str or None
        Of the input's bytes; None if they could not be read.
    cached : bool
        The vector was known from an earlier run.
    """

    index: int
    name: str
    value: np.ndarray | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    cached: bool = False


@dataclass(frozen=True)
class Encoded:
    """Vectors of several inputs, in their order.

    Attributes
    ----------
    vectors : float32 array, shape (N, D)
        Global vectors, NaN rows for inputs with an error; (N, 0) in temporal mode.
    errors : list of str or None
        Why an input has no vector.
    names : list of str
        How messages call each input.
    notes : list of tuple of str
        What a user should know about each conversion.
    temporal : list of arrays or None
        Hidden states (1, T, D) of each input; empty unless asked for.
    """

    vectors: np.ndarray
    errors: list[str | None]
    names: list[str]
    notes: list[tuple[str, ...]]
    temporal: list[np.ndarray | None] = field(default_factory=list)

    @property
    def ok(self) -> np.ndarray:
        """Boolean array (N,), True where an input has a vector."""
        return np.array([error is None for error in self.errors], bool)


class Clamp3:
    """CLaMP 3 for inference; make it with `from_pretrained`.

    Attributes
    ----------
    identity : str
        Names the weights and the arithmetic: equal identities give comparable vectors.
    """

    def __init__(
        self,
        weights: Path,
        *,
        text_model: str | os.PathLike[str] | None = None,
        dtype: Dtype = "auto",
        device: str | None = None,
        cache: VectorCache | None = None,
    ) -> None:
        from clamp3.models import weights as store

        if dtype not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"dtype is {dtype!r}; choose auto, float32 or bfloat16.")
        self._path = weights
        self._text_model = text_model
        # Published numbers are float32 numbers, so that is what nobody has to ask for.
        self.dtype: Literal["float32", "bfloat16"] = "bfloat16" if dtype == "bfloat16" else "float32"
        self._device = device
        self._cache = cache
        self._header = store.describe(weights, text_model=text_model)
        self.config = self._header.config
        self.identity = f"{self._header.identity}:{self.dtype}"
        self._towers: dict[Modality, Tower] = {}
        self._tokenizer: TextTokenizer | None = None

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "mini",
        *,
        text_model: str | os.PathLike[str] | None = None,
        epoch: int | None = None,
        dtype: Dtype = "auto",
        device: str | None = None,
        towers: Sequence[Modality] | None = None,
        cache: VectorCache | os.PathLike[str] | None = None,
    ) -> Clamp3:
        """Open weights by name or path.

        Parameters
        ----------
        name : str or path
            ``mini``, ``saas``, ``c2``, or a checkpoint file.
        text_model : str or path, optional
            Folder or Hugging Face name of the text tower's tokenizer and sizes, for weights that carry none.
        epoch : int, optional
            Checkpoint of this epoch in place of the best one.
        dtype : {"auto", "float32", "bfloat16"}
            Arithmetic of the towers. auto is float32: the published numbers.
        device : str, optional
            As torch names it; None takes the GPU if there is one.
        towers : sequence of {"text", "symbolic", "audio"}, optional
            Load these now instead of with the first input that needs them.
        cache : VectorCache or path, optional
            Where vectors of files are kept between runs; None keeps none.

        Raises
        ------
        WeightsError
            If the weights are absent, incomplete or unsafe.
        ConfigError
            If a value is none of the above.
        """
        from clamp3.jobs.cache import VectorCache
        from clamp3.models.weights import resolve

        store = cache if cache is None or isinstance(cache, VectorCache) else VectorCache(Path(cache))
        model = cls(resolve(name, epoch=epoch), text_model=text_model, dtype=dtype, device=device, cache=store)
        for tower in towers or ():
            model.load(tower)
        return model

    @property
    def width(self) -> int:
        """D, width of the joint space."""
        return self.config.hidden_size

    def load(self, modality: Modality) -> Tower:
        """Load a tower unless it is there already; see `from_pretrained` for what it raises."""
        if modality not in self._towers:
            from clamp3.engine import clamp3_tower

            if modality == "text":
                self.tokenizer()
            self._towers[modality] = clamp3_tower(
                self._path, modality, text_model=self._text_model, dtype=self.dtype, device=self._device
            )
        return self._towers[modality]

    def tokenizer(self) -> TextTokenizer:
        """Return the text tower's tokenizer."""
        if self._tokenizer is None:
            from clamp3.models.tokenizer import load_tokenizer

            self._tokenizer = load_tokenizer(self._text_model or self._header.tokenizer_dir)
        return self._tokenizer

    def encode(
        self,
        items: Iterable[Item],
        *,
        batch_size: int | None = None,
        temporal: bool = False,
        n_workers: int | None = None,
    ) -> Encoded:
        """Encode sentences and files of any mixture.

        Parameters
        ----------
        items : iterable of str, path, Source or (bytes, Kind)
            A string is a path if it names an existing file, else a sentence. One string alone is one input.
        batch_size : int, optional
            Most windows encoded together; without it the number of positions decides.
        temporal : bool
            Hidden states in place of global vectors.
        n_workers : int, optional
            Processes for conversions; None takes one per core.

        Returns
        -------
        Encoded
            One row per input. An input that cannot be encoded has an error there and stops nothing.
        """
        if isinstance(items, (str, os.PathLike, Source)):
            items = [items]
        results = list(self.stream(items, batch_size=batch_size, temporal=temporal, n_workers=n_workers))
        vectors = np.full((len(results), 0 if temporal else self.width), np.nan, np.float32)
        for result in results:
            if result.value is not None and not temporal:
                vectors[result.index] = result.value
        return Encoded(
            vectors,
            [result.error for result in results],
            [result.name for result in results],
            [result.notes for result in results],
            [result.value for result in results] if temporal else [],
        )

    def stream(
        self,
        items: Iterable[Item],
        *,
        batch_size: int | None = None,
        temporal: bool = False,
        n_workers: int | None = None,
    ) -> Iterator[Result]:
        """Encode without holding more than a few hundred inputs in memory; see `encode`.

        Yields
        ------
        Result
            In the order of the inputs, which are taken as they are needed.
        """
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
        queue, start = iter(items), 0
        while True:
            work = _Round.read(queue, start)
            if not work.names:
                return
            if self._cache is not None and not temporal:
                self._recall(work)
            self._prepare(work, n_workers)
            self._run(work, batch_size, temporal)
            if self._cache is not None and not temporal:
                self._keep(work)
            yield from work.results()
            start += len(work.names)

    def _key(self, work: _Round, index: int) -> str:
        from clamp3.jobs.cache import content_key

        data, source = work.data[index], work.sources[index]
        return content_key(data, source.kind, self.identity, preprocessing())

    def _recall(self, work: _Round) -> None:
        """Take known vectors from the cache."""
        assert self._cache is not None
        keys = {index: self._key(work, index) for index in work.data}
        known = self._cache.get_many(list(keys.values()))
        for index, key in keys.items():
            if key in known:
                work.values[index] = known[key]
                work.cached.add(index)
            else:
                work.keys[index] = key

    def _keep(self, work: _Round) -> None:
        assert self._cache is not None
        fresh = {key: work.values[index] for index, key in work.keys.items() if index in work.values}
        if fresh:
            self._cache.put_many(fresh)

    def _prepare(self, work: _Round, n_workers: int | None) -> None:
        """Turn bytes into sequences."""
        far: list[int] = []
        for index in sorted(set(work.data) - work.cached):
            source, data = work.sources[index], work.data[index]
            modality = modality_of(source.kind)
            if modality not in self.config.towers:
                work.errors[index] = f"{source.name} needs the {modality} tower, which {self._path.name} has not."
                continue
            if modality == "symbolic" and needs_process(data, source.kind):
                far.append(index)
                continue
            try:
                work.sequences[index] = self._sequence(data, source)
            except Clamp3Error as error:
                if error.exit_code == ConfigError.exit_code:
                    raise
                work.errors[index] = str(error)
        payloads = [(work.data[index], work.sources[index].kind, work.sources[index].name) for index in far]
        for place, value, error in self._convert(payloads, n_workers):
            if value is None:
                work.errors[far[place]] = error or f"{payloads[place][2]} could not be converted."
            else:
                work.sequences[far[place]] = value

    def _sequence(self, data: bytes, source: Source) -> Prepared:
        modality = modality_of(source.kind)
        if modality == "symbolic":
            return symbolic_sequence((data, source.kind, source.name))
        if modality == "audio":
            return audio_sequence(data, source.name)
        ids = self.tokenizer().encode_lines(text_of(data, source.name))
        return Prepared("text", np.asarray(ids, np.int64))

    def _convert(self, payloads: list[Any], n_workers: int | None) -> Iterator[tuple[int, Prepared | None, str | None]]:
        if len(payloads) < _MIN_FOR_PROCESSES:
            for place, payload in enumerate(payloads):
                try:
                    yield place, symbolic_sequence(payload), None
                except FormatError as error:
                    yield place, None, str(error)
            return
        from clamp3.jobs.parallel import process_map

        outcomes = process_map(symbolic_sequence, payloads, n_workers=n_workers, desc="converting")
        first = next(outcomes)
        self.load("symbolic")  # while the processes convert
        for outcome in chain([first], outcomes):
            yield outcome.index, outcome.value, None if outcome.error is None else str(outcome.error)

    def _run(self, work: _Round, batch_size: int | None, temporal: bool) -> None:
        """Encode the sequences of a round, modality by modality."""
        from clamp3 import batching

        for modality in ("text", "symbolic", "audio"):
            members = [index for index, sequence in work.sequences.items() if sequence.modality == modality]
            if not members:
                continue
            tower = self.load(modality)
            values = batching.run(
                [work.sequences[index].values for index in members],
                tower,
                token_budget=_TOKEN_BUDGET.get(tower.device.type, _TOKEN_BUDGET["cpu"]),
                batch_size=batch_size,
                temporal=temporal,
            )
            for index, value in zip(members, values, strict=True):
                if isinstance(value, DataError):
                    work.errors[index] = f"{work.names[index]}: {value}"
                else:
                    work.values[index] = value


class _Round:
    """Inputs that are read, converted and encoded together; everything is keyed by their place in the round."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.names: list[str] = []
        self.sources: dict[int, Source] = {}
        self.data: dict[int, bytes] = {}
        self.keys: dict[int, str] = {}
        self.sequences: dict[int, Prepared] = {}
        self.values: dict[int, np.ndarray] = {}
        self.errors: dict[int, str] = {}
        self.cached: set[int] = set()

    @classmethod
    def read(cls, queue: Iterator[Item], start: int) -> _Round:
        """Take inputs from the queue until the round is full."""
        work, n_bytes = cls(start), 0
        for index in range(_ROUND_ITEMS):
            item = next(queue, None)
            if item is None:
                break
            try:
                source = source_of(item)
                work.names.append(source.name)
                work.sources[index] = source
                work.data[index] = source.read()
            except FormatError as error:
                if len(work.names) == index:
                    work.names.append(str(item)[:200])
                work.errors[index] = str(error)
                continue
            n_bytes += len(work.data[index])
            if n_bytes > _ROUND_BYTES:
                break
        return work

    def results(self) -> Iterator[Result]:
        """Yield what became of each input, in order."""
        for index, name in enumerate(self.names):
            sequence = self.sequences.get(index)
            yield Result(
                self.start + index,
                name,
                self.values.get(index),
                self.errors.get(index),
                sequence.notes if sequence else (),
                digest(self.data[index]) if index in self.data else None,
                index in self.cached,
            )
