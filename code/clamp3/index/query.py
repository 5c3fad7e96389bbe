"""Questions to an index: a sentence or a file, filters, pieces or passages; nothing of the folders is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from clamp3.embedding.passages import Passage
from clamp3.errors import ConfigError, printable
from clamp3.formats import Kind
from clamp3.index.answer import Answer, understood
from clamp3.index.folder import find_index
from clamp3.index.fusion import CANDIDATES, fuse
from clamp3.index.library import Library
from clamp3.index.place import Uri, Where
from clamp3.index.question import MAX_TOP_K, Asked, Question, resolve
from clamp3.index.ranking import Hit, cosine, diversified, rank
from clamp3.index.selection import Distinct, Selection
from clamp3.index.store import FACTS, VECTOR, Row
from clamp3.index.where import both, quoted
from clamp3.index.words import tokens_of
from clamp3.jobs.identity import Identity

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.passages import PassagePlan

_MORE = 4  # candidates per result at first: single precision, copies and the query itself take some
_PASSAGES_PER_HIT = 20  # most passages of a piece overlap others
_POOL = 100  # of which diverse results are chosen
_OWN_FIELDS = ("name", "title", "modality", "kind")  # of a hit; the other facts are one field
_MUSIC = "modality <> 'text'"


def find(library: Library, model: Clamp3, question: Question) -> list[Hit]:
    """Return the hits alone; arguments as of `answer`."""
    return answer(library, model, question).hits


def answer(library: Library, model: Clamp3, question: Question) -> Answer:
    """Return what answers a question.

    Parameters
    ----------
    library : Library
    model : Clamp3
        The index's own.
    question : Question
        `Question.of` makes one of a sentence or file. Of passages of one piece that overlap, only the best is a result.

    Raises
    ------
    ConfigError
        If the model is another, or there are no passages.
    Clamp3Error
        If the question cannot be encoded.
    """
    library.check_model(model)
    asked = resolve(question, model, library)
    hits = best_hits(library, asked, question)
    n_passages = library.passages.count() if question.passages else 0
    said = understood(question, asked, model, hits)
    return Answer(hits, n_references=library.pieces.count(), n_passages=n_passages, **said)


def best_hits(library: Library, asked: Asked, question: Question) -> list[Hit]:
    """Return what is closest to a vector, chosen as a question says.

    Parameters
    ----------
    library : Library
    asked : Asked
        What ranks.
    question : Question
    """
    if question.top_k > MAX_TOP_K:
        raise ConfigError(f"top_k is {question.top_k}; at most {MAX_TOP_K} results can be asked for.")
    if question.passages and library.meta.passages is None:
        raise ConfigError("the index has no passages; build it anew with update --reindex --passages.")
    condition = _condition(library, library.condition(question.where), question.selection)
    text = question.text if question.words and not question.passages else ""
    named = library.pieces.matching(tokens_of([text]), CANDIDATES, condition) if text else []
    wanted = max(_POOL, 2 * question.top_k) if question.diversity else question.top_k
    table, n = (library.passages, _PASSAGES_PER_HIT) if question.passages else (library.pieces, _MORE)
    n = max(n * wanted, CANDIDATES if named else 1)
    while True:
        rows = table.nearest(asked.order, n, condition)
        ranked = _in_order(asked, rows)
        if named:
            ranked = _fused(text, asked, ranked, named)
        found = _distinct(library, asked, ranked, question)
        if len(found) > wanted or len(rows) < n:  # one more: what follows the last may be its copies
            break
        n *= 4
    if question.diversity and found:
        vectors, scores = np.stack([each.row[VECTOR] for each in found]), [each.score for each in found]
        found = [found[n] for n in diversified(vectors, scores, question.diversity, question.top_k)]
    return [_hit(library, place, each) for place, each in enumerate(found[: question.top_k], start=1)]


def ask_index(
    model: Clamp3,
    question: Question,
    folder: Where,
    *,
    passages: PassagePlan | None = None,
) -> Answer | None:
    """Return what `clamp3.index.search.ask` returns, from the index that a folder has in it, None if there is none.

    An address has to have one, and of this model.

    Parameters
    ----------
    model : Clamp3
    question : Question
    folder : Path or Uri
    passages : PassagePlan, optional
        As of `clamp3.index.search.ask`.
    """
    question = replace(question, passages=passages is not None)
    if isinstance(folder, Uri):
        with Library.open(folder) as library:
            return answer(library, model, question)
    place = find_index(folder)
    if place is None or not folder.is_dir() or question.top_k > MAX_TOP_K:
        return None
    with Library.open(place) as library:
        same_passages = passages is None or library.meta.passages == asdict(passages)
        known = folder.resolve() in library.folder.roots().values() and len(library.folder.roots()) == 1
        if not known or not same_passages or library.meta.weights != Identity.parse(model.identity).space:
            return None
        said = f"answered from the index of {printable(folder)} (clamp3 index update keeps it up to date; --no_index)."
        return replace(answer(library, model, question), remarks=[said])


def _condition(library: Library, filtered: str | None, selection: Selection) -> str | None:
    """Return the filter of the kinds that are ranked: music, unless others are asked for or there is none."""
    if selection.kinds:
        kinds = ", ".join(quoted(kind.value) for kind in Kind.known.values() if selection.wants(kind))
        return both(filtered, f"kind IN ({kinds})")
    music = both(filtered, _MUSIC)
    return music if library.pieces.count(music) else filtered


def _in_order(asked: Asked, rows: Sequence[Row]) -> list[tuple[Row, float]]:
    """Return rows with their exact cosines, in the order of the question, equal ones by name and place."""
    if not rows:
        return []
    names = [f"{row['name']}\0{row.get('first_item', 0):09}\0{row['id']}" for row in rows]
    vectors = np.stack([row[VECTOR] for row in rows])
    ranked = rank(asked.order, vectors, len(rows), names)
    if asked.ranking is None:
        return [(rows[number], score) for number, score in ranked]
    cosines = cosine(asked.vector, vectors)
    return [(rows[number], float(cosines[number])) for number, _ in ranked]


def _fused(
    text: str, asked: Asked, ranked: Sequence[tuple[Row, float]], named: Sequence[Row]
) -> list[tuple[Row, float]]:
    """Return rows in the order of vectors and words together, each with its cosine."""
    found = _in_order(asked, named)
    every = {row["id"]: (row, score) for row, score in (*ranked, *found)}
    return [every[each] for each in fuse(text, [row for row, _ in ranked], [row for row, _ in found])]


@dataclass(frozen=True)
class _Found:
    """A row that is an answer of its own: its cosine, its passage, and the names of its copies."""

    row: Row
    score: float
    passage: Passage | None = None
    also: tuple[str, ...] = ()


def _distinct(library: Library, asked: Asked, ranked: Sequence[tuple[Row, float]], question: Question) -> list[_Found]:
    """Return the rows that are answers of their own."""
    selection = question.selection
    allowed = [(row, score) for row, score in ranked if score >= selection.min_score]
    allowed = [(row, score) for row, score in allowed if not selection.excludes(PurePosixPath(row["name"]))]
    if question.passages:
        return _distinct_passages(library, asked, allowed, selection)
    if selection.keep_duplicates:
        return [_Found(row, score) for row, score in allowed]
    own = [n for n, (row, _) in enumerate(allowed) if _is_part(library, asked, row["id"], row["content"])]
    distinct = Distinct([row[VECTOR][None] for row, _ in allowed], own)
    kept = [n for n, (_, score) in enumerate(allowed) if distinct.takes(n, score)]
    copies = [tuple(sorted(allowed[copy][0]["name"] for copy in distinct.copies[n])) for n in kept]
    return [_Found(*allowed[n], also=also) for n, also in zip(kept, copies, strict=True)]


def _distinct_passages(
    library: Library, asked: Asked, ranked: Sequence[tuple[Row, float]], selection: Selection
) -> list[_Found]:
    """Return the best passages; of pieces with the same content those of the first."""
    pieces = {row["piece"] for row, _ in ranked}
    content = {row["id"]: row["content"] for row in library.pieces.rows(["id", "content"], ids=pieces)}
    owners: dict[str, str] = {}
    if not selection.keep_duplicates:
        own = {piece for piece in pieces & content.keys() if _is_part(library, asked, piece, content[piece])}
        owners = {content[piece]: "" for piece in own}
    found: list[_Found] = []
    for row, score in ranked:
        piece = str(row["piece"])
        if not selection.keep_duplicates and owners.setdefault(content.get(piece, piece), piece) != piece:
            continue
        passage = Passage(row["unit"], row["start_at"], row["end_at"], row["first_item"], row["last_item"])
        if not any(each.row["piece"] == piece and each.passage.overlaps(passage) for each in found if each.passage):
            found.append(_Found(row, score, passage))
    return found


def _is_part(library: Library, asked: Asked, piece: str, content: str) -> bool:
    return piece in asked.pieces or content in asked.contents or asked.is_part(str(library.path_of(piece)))


def _hit(library: Library, place: int, found: _Found) -> Hit:
    row = found.row
    piece = str(row.get("piece", row["id"]))
    facts = {name: row[name] for name in FACTS if name not in _OWN_FIELDS and row[name] not in ("", None)}
    return Hit(
        place,
        row["name"],
        found.score,
        row["title"],
        printable(library.path_of(piece)),
        found.passage,
        found.also,
        piece,
        row["modality"],
        row["kind"],
        facts,
    )
