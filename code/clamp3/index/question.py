"""What may be asked of music: words, files, pieces of an index and vectors, weighted, and how to answer.

One type for command, API, server and page. `resolve` makes a vector of it; `clamp3.index.query.find` answers it from an
index, `clamp3.index.search.ask` from folders.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clamp3.errors import Clamp3Error, ConfigError, FormatError, sentence_of
from clamp3.formats import Kind
from clamp3.index.hubs import without_common
from clamp3.index.prompts import class_vectors, prompts_for
from clamp3.index.ranking import check_top_k, unit_rows
from clamp3.index.selection import Selection, kind_groups, kinds_of, same_input
from clamp3.index.store import VECTOR
from clamp3.index.vectors import StoredVectors
from clamp3.sources import Item, Source, sentence, source_of

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import Stretch
    from clamp3.index.library import Library

MAX_PARTS, MAX_TOP_K, MAX_CHARACTERS = 16, 1000, 10_000
_LEAST = 1e-6  # length of a sum of unit vectors that has a direction
_STRETCH = re.compile(r"(?P<file>.+)@(?P<start>[0-9:]*\.?[0-9]*)-(?P<end>[0-9:]*\.?[0-9]*)", re.DOTALL)
_FORMS = ("text", "path", "source", "piece", "vector")


@dataclass(frozen=True, eq=False)
class Part:
    """One thing that what is looked for is like, or with a negative weight unlike.

    Attributes
    ----------
    weight : float
        Of its unit vector in the sum.
    text, path, source, piece, vector : optional
        Exactly one: words; a file of any kind; an input that is read already; the id of a piece in the index; or a
        vector of its model, shape (D,).
    start_sec, end_sec : float, optional
        Only this stretch of a recording or performance.
    first_bar, last_bar : float, optional
        Only these bars of a score, counted from 1.

    Raises
    ------
    ConfigError
        If it is none or several of these, or a number is impossible.
    """

    weight: float = 1.0
    text: str | None = None
    path: Path | None = None
    source: Source | None = None
    piece: str | None = None
    vector: np.ndarray | None = None
    start_sec: float | None = None
    end_sec: float | None = None
    first_bar: float | None = None
    last_bar: float | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, form) is not None for form in _FORMS) != 1:
            raise ConfigError("a part of a question is either a text, a file, a piece of the index or a vector.")
        if not math.isfinite(self.weight) or not self.weight:
            raise ConfigError(f"the weight of a part of a question is {self.weight}; it must be a number other than 0.")
        if self.text is not None and not 0 < len(self.text.strip()) <= MAX_CHARACTERS:
            n = len(self.text.strip())
            raise ConfigError(f"the question has a text of {n} characters; 1 to {MAX_CHARACTERS} are possible.")
        if self.stretch() is not None and (self.text is not None or self.vector is not None):
            raise ConfigError("only music has seconds or bars to take a stretch of.")

    def stretch(self) -> Stretch | None:
        """Return what is taken of the piece, None for all of it."""
        from clamp3.embedding.passages import Stretch

        seconds, bars = (self.start_sec, self.end_sec), (self.first_bar, self.last_bar)
        if seconds == bars == (None, None):
            return None
        if seconds != (None, None) and bars != (None, None):
            raise ConfigError("a stretch is in seconds or in bars.")
        (start, end), first = (seconds, 0) if bars == (None, None) else (bars, 1)
        return Stretch(
            "bars" if first else "seconds", first if start is None else start, math.inf if end is None else end
        )

    def opened(self, library: Library | None = None) -> Source | None:
        """Return what is to be encoded, None for a vector and for a whole piece of the index.

        Parameters
        ----------
        library : Library, optional
            The index that has the piece.
        """
        try:
            if self.text is not None:
                return sentence(self.text)
            if self.piece is not None:
                where = _the(library).path_of(self.piece)
                return source_of(where) if self.stretch() is not None else None
            return source_of(self.path) if self.path is not None else self.source
        except FormatError as error:
            raise Clamp3Error(f"the query cannot be encoded: {error}") from None


@dataclass(frozen=True, eq=False)
class Question:
    """What is looked for, where, and how results are chosen.

    Attributes
    ----------
    parts : tuple of Part
        The pieces given in them are never results.
    axis : (str, str), optional
        From what to what, as in ("sad", "happy"): that direction is added. Without parts the place on the axis ranks.
    diversity : float
        From 0 to below 1, how much likeness to better results counts against a result
        (`clamp3.index.ranking.diversified`).
    where : str, optional
        A filter of an index; see `clamp3.index.where.to_sql`.
    kinds, exclude, min_score, keep_duplicates
        As in `clamp3.index.selection.Selection`.
    passages : bool
        Rank passages in place of pieces.
    top_k : int
        How many results; of an index at most `MAX_TOP_K`.
    words : bool
        Bring pieces to the front whose title, people or file name answer the text; see `clamp3.index.fusion`.

    Raises
    ------
    ConfigError
        If a value is impossible.

    Examples
    --------
    >>> slower = Part(text="slower", weight=0.5)
    >>> question = Question((Part(piece="0/a.mid"), Part(piece="0/b.mp3", weight=-1), slower), diversity=0.3)
    >>> question.top_k, question.text
    (10, '')
    >>> Question(axis=("sad", "sad"))
    Traceback (most recent call last):
    clamp3.errors.ConfigError: an axis has two different ends, such as sad and happy.
    """

    parts: tuple[Part, ...] = ()
    axis: tuple[str, str] | None = None
    diversity: float = 0.0
    where: str | None = None
    kinds: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_score: float = -1.0
    keep_duplicates: bool = False
    passages: bool = False
    top_k: int = 10
    words: bool = True

    def __post_init__(self) -> None:
        check_top_k(self.top_k)
        if not self.parts and self.axis is None:
            raise ConfigError("there is no question: give a text, a file or an axis.")
        if len(self.parts) > MAX_PARTS:
            raise ConfigError(f"the question has {len(self.parts)} parts; at most {MAX_PARTS} are possible.")
        if not 0 <= self.diversity < 1:
            raise ConfigError(f"the diversity is {self.diversity}; it goes from 0 to below 1.")
        ends = [" ".join(end.split()) for end in self.axis or ("", " ")]
        if self.axis is not None and (len(ends) != 2 or not all(ends) or ends[0] == ends[1]):
            raise ConfigError("an axis has two different ends, such as sad and happy.")
        if max(map(len, ends)) > MAX_CHARACTERS:
            raise ConfigError(f"an end of the axis has more than {MAX_CHARACTERS} characters.")
        _ = self.selection  # unknown kinds

    @classmethod
    def of(cls, item: Item, **how: Any) -> Question:
        """Return the question for what is like one input.

        Parameters
        ----------
        item : str, path, Source or (bytes, Kind)
            As `clamp3.sources.source_of` takes it.
        **how
            Other attributes.

        Raises
        ------
        Clamp3Error
            If it is no input.
        """
        return cls((part_of(item),), **how)

    @property
    def selection(self) -> Selection:
        """What of the pieces is ranked and returned."""
        return Selection(self.kinds, self.exclude, self.min_score, self.keep_duplicates)

    @property
    def text(self) -> str:
        """The words, if words are all that results should be like, else ""."""
        wanted = [part for part in self.parts if part.weight > 0]
        sources = [sentence(part.text) if part.text is not None else part.source for part in wanted]
        if any(source is None or source.kind != Kind.TEXT or source.path is not None for source in sources):
            return ""
        return " ".join(source.read().decode("utf-8", "replace") for source in sources if source is not None)

    @property
    def only_text(self) -> str:
        """The words, if one sentence is all that was said, else ""."""
        return self.text if len(self.parts) == 1 and self.axis is None else ""

    @property
    def all_words(self) -> str:
        """Every word that was said, those of what results should be unlike and of the axis too."""
        texts = [part.text for part in self.parts if part.text is not None]
        return " ".join([self.text, *texts, *(self.axis or ())]).strip()


@dataclass(frozen=True, eq=False)
class Asked:
    """A question as a vector, shape (D,), and what it was made of: files, and ids and contents of pieces.

    Where ``ranking`` is given, the pieces are ordered by it, and cosines are still those to the vector.
    """

    vector: np.ndarray
    sources: tuple[Source, ...] = ()
    pieces: frozenset[str] = field(default_factory=frozenset)
    contents: frozenset[str] = field(default_factory=frozenset)
    ranking: np.ndarray | None = None

    @property
    def order(self) -> np.ndarray:
        """The vector whose cosines order the pieces."""
        return self.vector if self.ranking is None else self.ranking

    def is_part(self, location: str) -> bool:
        """Return whether what lies somewhere (as `clamp3.sources.Source.location`) was part of the question."""
        return any(same_input(source, location) for source in self.sources)


def part_of(item: Item, weight: float = 1.0, **stretch: Any) -> Part:
    """Return an input as a part of a question; a `Clamp3Error` if it is none.

    Parameters
    ----------
    item : str, path, Source or (bytes, Kind)
    weight : float
    **stretch
        As in `Part`.
    """
    try:
        return Part(weight, source=source_of(item), **stretch)
    except FormatError as error:
        raise Clamp3Error(f"the query cannot be encoded: {error}") from None


def question_of(args: argparse.Namespace, query: str | None, **how: Any) -> Question:
    """Return the question that the flags of `clamp3.index.selection.add_question_flags` ask.

    Parameters
    ----------
    args : Namespace
    query : str or None
        The words, or the file, that come first.
    **how
        Attributes of `Question` that have flags elsewhere.

    Raises
    ------
    Clamp3Error
        If something cannot be asked.
    """
    parts = [named(query)] if query is not None else []
    parts += [named(given[0], _weight(given)) for given in args.like]
    parts += [named(given[0], -_weight(given)) for given in args.unlike]
    parts += [Part(_weight(given), text=given[0]) for given in args.text]
    chosen = {"exclude": tuple(args.exclude), "min_score": args.min_score, "keep_duplicates": args.keep_duplicates}
    axis = tuple(args.axis) if args.axis else None
    return Question(tuple(parts), axis, kinds=kinds_of(args.kind), top_k=args.top_k, **chosen, **how)


def _weight(given: Sequence[str]) -> float:
    try:
        [weight] = given[1:] or ["1"]
        return float(weight)
    except ValueError:
        said = " ".join(given[1:])
        raise ConfigError(f"{sentence_of(said, 100)!r} is no weight; the query comes before flags.") from None


def named(text: str, weight: float = 1.0) -> Part:
    """Return a file, a stretch of one (``take.mp3@40-55``), or words, as a part of a question.

    Parameters
    ----------
    text : str
    weight : float
    """
    found = _STRETCH.fullmatch(text)
    if found is None or Path(text).exists():
        return part_of(text, weight)
    part = part_of(found["file"], weight)
    assert part.source is not None
    if part.source.path is None:  # words that end so
        return part_of(text, weight)
    start, end = (_number(found[end]) for end in ("start", "end"))
    if part.source.kind in kind_groups()["score"]:
        return replace(part, first_bar=start, last_bar=end)
    return replace(part, start_sec=start, end_sec=end)


def _number(clock: str) -> float | None:
    """Return seconds of ``1:20`` or ``80``, None where nothing is said."""
    return (
        sum(float(number or 0) * 60**place for place, number in enumerate(reversed(clock.split(":"))))
        if clock
        else None
    )


def resolve(question: Question, model: Clamp3, library: Library | None = None) -> Asked:
    """Return a question as a vector; a single part's own, else the sum of unit vectors.

    Parameters
    ----------
    question : Question
    model : Clamp3
    library : Library, optional
        The index that pieces are of.

    Raises
    ------
    ConfigError
        If a piece is not in the index, or the parts cancel each other.
    Clamp3Error
        If something cannot be encoded.

    Examples
    --------
    >>> east, north = np.array([2.0, 0.0]), np.array([0.0, 5.0])
    >>> question = Question((Part(vector=east), Part(vector=north, weight=-0.5)))
    >>> resolve(question, model=None).vector.tolist()
    [1.0, -0.5]
    """
    rows: dict[str, dict[str, Any]] = {}
    wanted = {part.piece for part in question.parts if part.piece is not None}
    if wanted:
        found = _the(library).pieces.rows(["id", "content", VECTOR], ids=wanted)
        rows = {row["id"]: row for row in found}
        for piece in wanted - rows.keys():
            raise ConfigError(f"the index has no piece {sentence_of(piece, 100)}.")
    sources: list[Source] = []
    vectors: list[np.ndarray] = []
    for part in question.parts:
        source = part.opened(library)
        if source is None:
            vectors.append(rows[part.piece][VECTOR] if part.piece is not None else _checked(part.vector))
        else:
            vectors.append(_encoded(source, model, part.stretch()))
            sources.append(source)
    if len({len(vector) for vector in vectors}) > 1:
        raise ConfigError("the vectors of the question have different widths; all must come from the index's model.")
    if question.axis is None and len(vectors) == 1 and question.parts[0].weight > 0:
        total = vectors[0]
    else:
        total = sum(part.weight * unit_rows(v[None])[0] for part, v in zip(question.parts, vectors, strict=True))
        if question.axis is not None:
            start, end = class_vectors(model, list(prompts_for(question.axis).values()))
            total = total + end - start
        if np.linalg.norm(total) < _LEAST:
            raise ConfigError("the parts of the question cancel each other; nothing is left to look for.")
    contents = frozenset(row["content"] for row in rows.values())
    in_words = question.words and question.only_text and not question.passages
    ranking = without_common(np.asarray(total), model) if in_words else None
    return Asked(np.asarray(total), tuple(sources), frozenset(wanted), contents, ranking)


def _the(library: Library | None) -> Library:
    if library is None:
        raise ConfigError("the question names a piece of an index, but there is none here.")
    return library


def _checked(vector: np.ndarray | None) -> np.ndarray:
    row = np.asarray(vector, np.float64).reshape(-1)
    if not np.isfinite(row).all() or not row.any():
        raise ConfigError("a vector of the question is of zeros, or not finite.")
    return row


def _encoded(source: Source, model: Clamp3, stretch: Stretch | None) -> np.ndarray:
    """Return the vector of an input, shape (D,)."""
    if stretch is None:
        stored = StoredVectors(model, source.path.parent if source.path else Path())
        try:
            vector = stored.vector(source, model.width)
        except FormatError as error:
            raise Clamp3Error(f"the query cannot be encoded: {error}") from None
        if vector is not None:
            return vector
    [result] = model.stream([source], passages=stretch)
    if result.value is None:
        if source.kind == Kind.TEXT:
            model.tokenizer()  # an absent one is no fault of the query, and its error says so
        raise Clamp3Error(f"the query cannot be encoded: {result.error}")
    return np.asarray(result.value).reshape(-1)
