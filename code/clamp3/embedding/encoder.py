"""From inputs to results, for any encoder: read, look up in the cache, convert, batch, run, keep.

`Encoder` is what `Clamp3` and `M3` of `clamp3.embedding.clamp3` share. It works in rounds of a few hundred inputs,
so that windows of many files can be sorted by length while memory stays bounded; an input that fails becomes a result
with a reason.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clamp3.embedding.encoded import of_input
from clamp3.embedding.passages import Passage, PassagePlan, Stretch, cut, divide, pack, unpack
from clamp3.embedding.rounds import Result, Round
from clamp3.errors import ConfigError, DataError, FormatError, WeightsError, describe
from clamp3.formats import Converted, Kind
from clamp3.jobs.identity import Identity
from clamp3.modalities import MODALITIES, Modality, Payload, Prepared, of_kind, preprocessing_version
from clamp3.modalities.symbolic import AS_LEARNED, Reading
from clamp3.sources import Item

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self

    from clamp3.embedding.batching import Tower
    from clamp3.jobs.cache import VectorCache
    from clamp3.jobs.parallel import Workers

Dtype = Literal["auto", "float32", "bfloat16"]

# Fewer conversions than this, or less work for this package's own readers, are quicker here than in processes that have
# to start, which takes half a second or more.
_MIN_FOR_PROCESSES = 3
_QUICK_SEC = 0.3
# Vectors handed to the cache at once; what an interrupted job loses.
_KEEP_EVERY = 32


class Encoder(ABC):
    """Inputs to vectors; a subclass defines which towers there are and loads them.

    Parameters
    ----------
    dtype : {"auto", "float32", "bfloat16"}
        Arithmetic of the towers. auto is float32, because published numbers are float32 numbers.
    device : str, optional
        As torch names it; None takes the GPU if there is one.
    cache : VectorCache, optional
        Where global vectors are kept between runs.
    reading : Reading
        How scores and performances become text: ABC as it is written, or with the converters' faults mended.
    """

    _weights: Path

    def __init__(
        self, *, dtype: Dtype, device: str | None, cache: VectorCache | None, reading: Reading = AS_LEARNED
    ) -> None:
        if dtype not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"dtype is {dtype!r}; choose auto, float32 or bfloat16.")
        self.dtype: Literal["float32", "bfloat16"] = "bfloat16" if dtype == "bfloat16" else "float32"
        self._device = device
        self._cache, self._reading = cache, reading
        self._towers: dict[str, Tower] = {}
        self._front_ends: dict[str, Any] = {}
        self._converters: Workers[Any, Converted] | None = None
        self._lock = threading.RLock()  # of the three above

    @cached_property
    def identity(self) -> str:
        """Text of the `Identity` of weights, tokenizer and arithmetic: equal ones give comparable vectors."""
        return str(self._own_identity())

    @property
    def preprocessing(self) -> str:
        """Version and options of everything between the bytes of an input and what its tower reads."""
        return "+".join((preprocessing_version(), *self._reading.options))

    @property
    def as_is(self) -> bool:
        """Whether ABC is encoded as it is written."""
        return self._reading.as_is

    @abstractmethod
    def _own_identity(self) -> Identity:
        """Return the identity of weights and tokenizer; the first time their files are read for it."""

    def confirm(self) -> None:
        """Hash the weights anew, whatever is remembered of them, before a folder is said to come from them.

        Raises
        ------
        WeightsError
            If they are not those that `identity` names.
        """
        from clamp3.models.registry import identity

        if identity(self._weights, anew=True) != Identity.parse(self.identity).weights:
            raise WeightsError(f"{self._weights} has changed, though not its size and time; run the command again.")

    @abstractmethod
    def lacks(self, modality: str) -> str | None:
        """Return why inputs of a modality cannot be encoded, None if they can."""

    def identity_of(self, kind: Kind) -> str:
        """Return the text of the `Identity` of vectors of inputs of a kind; for most kinds the encoder's own."""
        modality = of_kind(kind)
        front_end = self.front_end(modality.name)
        version = modality.version(kind, front_end)
        if not version:
            return self.identity
        name = getattr(front_end, "identity", "")
        return str(replace(Identity.parse(self.identity), front_end=name, preprocessing=version))

    def front_end(self, modality: str) -> Any:
        """Return the front end of a tower (see `clamp3.modalities.Modality.prepare`), None if it has none."""
        with self._lock:
            if modality not in self._front_ends:
                absent = self.lacks(modality) is not None
                self._front_ends[modality] = None if absent else self._open_front_end(modality)
            return self._front_ends[modality]

    def _open_front_end(self, modality: str) -> Any:
        """Return the front end of a tower that is there; it loads nothing before it is used."""
        return None

    @abstractmethod
    def _load(self, modality: str) -> Tower:
        """Return a tower that has not been loaded yet."""

    def load(self, modality: str) -> Tower:
        """Return a tower, loading it the first time it is needed."""
        with self._lock:  # a thread that needs it too waits, and does not load it again
            if modality not in self._towers:
                self._towers[modality] = self._load(modality)
            return self._towers[modality]

    @property
    def device(self) -> str:
        """Where towers compute, as torch names it."""
        from clamp3.models.device import pick_device

        return str(pick_device(self._device))

    def to(self, device: str | torch.device) -> Self:
        """Move to a device, and return this encoder; what is being encoded meanwhile is finished where it began.

        Raises
        ------
        ConfigError
            If torch cannot use the device.
        """
        from clamp3.models.device import pick_device

        where = str(pick_device(str(device)))
        with self._lock:
            before = self._device, self._towers, self._front_ends
            if where != self.device:
                self._device, self._towers, self._front_ends = where, {}, {}
                try:
                    for modality in before[1]:
                        self.load(modality)
                except BaseException:  # it does not fit there, say
                    self._device, self._towers, self._front_ends = before
                    raise
        return self

    def close(self) -> None:
        """End the worker process that stays ready between calls, and close the cache; later calls open them again."""
        with self._lock:
            converters, self._converters = self._converters, None
        if converters is not None:
            converters.close()
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(
        self,
        items: Iterable[Item],
        *,
        batch_size: int | None = None,
        temporal: bool = False,
        n_workers: int | None = None,
        passages: PassagePlan | Stretch | None = None,
    ) -> Iterator[Result]:
        """Encode inputs, holding a few hundred of them in memory at most.

        Parameters
        ----------
        items : iterable of str, path, Source, (bytes, Kind) or (samples, rate)
            Taken as they are needed. A string is a path if it names an existing file, else a sentence.
        batch_size : int, optional
            Most windows encoded together; without it the number of positions decides.
        temporal : bool
            Hidden states in place of global vectors.
        n_workers : int, optional
            Processes for conversions; None takes one per core.
        passages : PassagePlan or Stretch, optional
            One vector per passage, or that of one stretch, in place of one per input.

        Yields
        ------
        Result
            One per input, in order of completion.

        Raises
        ------
        ConfigError
            If ``batch_size`` is below 1, or both hidden states and passages are asked for.
        WeightsError
            If a tower that is needed cannot be loaded.
        """
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
        if temporal and passages is not None:
            raise ConfigError("hidden states of passages cannot be asked for; take those of the whole piece.")
        cache = None if temporal else self._cache
        queue, start = iter(items), 0
        while (work := Round.read(queue, start)).names:
            start += len(work.names)
            if cache is not None:
                yield from self._recall(work, cache, passages)
            self._prepare(work, n_workers, marked=passages is not None)
            yield from work.failures()
            fresh: dict[str, np.ndarray] = {}
            try:
                for result, key in self._run(work, batch_size, temporal, passages):
                    if cache is not None and key is not None and result.value is not None:
                        fresh[key] = pack(result.value, result.passages) if passages is not None else result.value
                    if cache is not None and len(fresh) >= _KEEP_EVERY:
                        cache.put_many(fresh)
                        fresh = {}
                    yield result
            finally:
                if cache is not None and fresh:
                    cache.put_many(fresh)

    def _recall(self, work: Round, cache: VectorCache, plan: PassagePlan | Stretch | None) -> Iterator[Result]:
        """Yield the results of a round that are in the cache, and take their inputs out of the round."""
        from clamp3.jobs.cache import content_key

        way = preprocessing_version() if plan is None else f"{preprocessing_version()} passages {plan.identity}"
        for index, data in work.data.items():
            source = work.sources[index]
            content = work.sha256[index].encode() if source.streamed else data
            work.keys[index] = content_key(content, source.kind, self.identity_of(source.kind), way)
        known = cache.get_many(list(work.keys.values()))
        for index, key in work.keys.items():
            if key in known:
                value, where = (known[key], ()) if plan is None else unpack(known[key])
                yield work.result(index, value=value, passages=where, cached=True)
                del work.data[index]

    def _prepare(self, work: Round, n_workers: int | None, *, marked: bool) -> None:
        """Turn the bytes of a round into sequences or errors."""
        elsewhere: dict[int, _Job] = {}
        for index, data in work.data.items():
            source = work.sources[index]
            modality = of_kind(source.kind)
            reason = self.lacks(modality.name)
            if reason is not None:
                work.errors[index] = f"{source.name}: {reason}"
                continue
            front_end = self.front_end(modality.name)
            payload = (source.recording if source.streamed else data, source.kind, source.name)
            job = (modality, payload, front_end, marked)
            if modality.needs_process(payload, front_end):
                elsewhere[index] = job
            else:
                _prepare_here(work, index, job)
        for index in _quick(elsewhere) if n_workers is None else ():
            _prepare_here(work, index, elsewhere.pop(index))
        if len(elsewhere) < _MIN_FOR_PROCESSES:
            self._prepare_few(work, elsewhere)
            return
        from clamp3.jobs.parallel import process_map

        indices = list(elsewhere)
        for outcome in process_map(_prepare_job, list(elsewhere.values()), n_workers=n_workers):
            if outcome.value is None:
                work.errors[indices[outcome.index]] = outcome.error or "the conversion gave nothing."
            else:
                work.sequences[indices[outcome.index]] = outcome.value

    def _prepare_few(self, work: Round, jobs: dict[int, _Job]) -> None:
        """Prepare inputs in this process, except for what could stall it: a worker that stays converts that."""
        conversions = {}
        for index, (modality, payload, front_end, _) in jobs.items():
            convert = modality.conversion(payload, front_end)
            if convert is not None:
                conversions[index] = (convert, *payload)
        texts = {}
        if conversions:
            indices = list(conversions)
            converters = self._started({jobs[index][0].name for index in conversions})
            for outcome in converters.map(conversions.values()):
                if outcome.value is None:
                    work.errors[indices[outcome.index]] = outcome.error or "the conversion gave nothing."
                else:
                    texts[indices[outcome.index]] = outcome.value
        for index, (modality, (content, kind, name), front_end, marked) in jobs.items():
            if index not in work.errors:
                _prepare_here(work, index, (modality, (texts.get(index, content), kind, name), front_end, marked))

    def _started(self, modalities: set[str]) -> Workers[Any, Converted]:
        """Return the workers for single conversions; while the first of them starts, load the towers."""
        from clamp3.jobs.limits import convert_within
        from clamp3.jobs.parallel import Workers

        with self._lock:
            converters, first = self._converters or Workers(convert_within), self._converters is None
            self._converters = converters
        if first:
            converters.start()
            for name in modalities:
                self.load(name)
        return converters

    def _run(
        self, work: Round, batch_size: int | None, temporal: bool, plan: PassagePlan | Stretch | None
    ) -> Iterator[tuple[Result, str | None]]:
        """Encode the sequences of a round, modality by modality; yield results with their cache keys."""
        from clamp3.embedding import batching

        for modality in MODALITIES:
            members = [index for index, sequence in work.sequences.items() if sequence.modality == modality]
            if not members:
                continue
            tower = self.load(modality)
            if plan is not None:
                yield from _run_passages(work, members, tower, plan, batch_size)
                continue
            values = batching.run(
                [work.sequences[index].values for index in members],
                tower,
                batch_size=batch_size,
                temporal=temporal,
            )
            for place, value in values:
                index = members[place]
                if isinstance(value, DataError):
                    yield work.result(index, error=f"{work.names[index]}: {value}"), None
                else:
                    yield work.result(index, value=value), work.keys.get(index)


def prepared(encoder: Encoder, items: Iterable[Item], *, n_workers: int | None = None) -> Iterator[Prepared]:
    """Yield the sequence of each input, in order: what a tower reads, not yet cut into windows.

    Parameters
    ----------
    encoder : Encoder
        Whose front ends prepare them; no tower is loaded.
    items, n_workers
        As in `Encoder.stream`.

    Raises
    ------
    DataError
        If an input cannot be prepared.
    """
    queue = iter(items)
    while (work := Round.read(queue, 0)).names:
        encoder._prepare(work, n_workers, marked=False)
        if work.errors:
            first = min(work.errors)
            raise DataError(of_input(work.names[first], work.errors[first]))
        yield from (work.sequences[index] for index in range(len(work.names)))


def _run_passages(
    work: Round, members: list[int], tower: Tower, plan: PassagePlan | Stretch, batch_size: int | None
) -> Iterator[tuple[Result, str | None]]:
    """Encode the passages of inputs; yield a result, with its cache key, per input."""
    from clamp3.embedding import batching

    where: dict[int, list[Passage]] = {}
    for index in members:
        try:
            where[index] = divide(len(work.sequences[index]), work.sequences[index].marks, plan)
        except FormatError as error:
            yield work.result(index, error=f"{work.names[index]}: {error}"), None
    owners = [(index, number) for index in where for number in range(len(where[index]))]
    parts = [cut(work.sequences[index].values, work.sequences[index].marks, where[index][n]) for index, n in owners]
    rows: dict[int, dict[int, np.ndarray]] = {index: {} for index in where}
    for place, value in batching.run(parts, tower, batch_size=batch_size):
        index, number = owners[place]
        if isinstance(value, DataError):
            if rows.pop(index, None) is not None:  # one reason per input
                yield work.result(index, error=f"{work.names[index]}: {value}"), None
        elif index in rows:
            rows[index][number] = value
            if len(rows[index]) == len(where[index]):
                vectors = np.stack([rows[index][n] for n in range(len(where[index]))])  # (W, D)
                yield work.result(index, value=vectors, passages=tuple(where[index])), work.keys.get(index)


_Job = tuple[Modality, Payload, Any, bool]  # a modality, what it prepares, its front end, and whether with marks


def _quick(jobs: dict[int, _Job]) -> list[int]:
    """Return which inputs this package's own code prepares, all together, sooner than processes start."""
    found, seconds = [], 0.0
    for index, (modality, payload, front_end, _) in jobs.items():
        content, _, _ = payload
        if isinstance(content, bytes) and modality.conversion(payload, front_end) is None:
            found.append(index)
            seconds += modality.seconds(content)
    return found if seconds <= _QUICK_SEC else []


def _prepare_job(job: _Job) -> Prepared:
    """Prepare an input within what one of its size may take; runs in a worker."""
    from clamp3.jobs.limits import allowance, within

    modality, payload, front_end, marked = job
    prepare = partial(modality.prepare, payload, front_end, marked=marked)
    content, kind, _ = payload
    return within(allowance(content, kind), prepare) if isinstance(content, bytes) else prepare()


def _prepare_here(work: Round, index: int, job: _Job) -> None:
    modality, payload, front_end, marked = job
    try:
        work.sequences[index] = modality.prepare(payload, front_end, marked=marked)
    except Exception as error:  # whatever is in the file or lacks to read it, only this input fails
        work.errors[index] = describe(error)
