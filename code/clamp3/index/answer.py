"""What a search answers, however it was asked: hits, what was left out, and what the model made of the words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from clamp3.errors import printable
from clamp3.index.question import Asked, Question
from clamp3.index.ranking import Hit
from clamp3.index.words import words_of

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

LONG = 4  # letters of a word that is no "the" or "of"


@dataclass(frozen=True)
class Answer:
    """The result of a search.

    Attributes
    ----------
    hits : list of Hit
        Best first; a name is the file's path in the folder, suffix included, after the folder's if there are several.
    failures : list of (str, str)
        Files that could not be compared, and why.
    skipped : list of str
        Files of types without a reader.
    n_references, n_cached : int
        Files compared, and how many of their vectors were in the cache.
    n_passages : int
        Passages compared, if passages were asked for.
    remarks : list of str
        Sentences on what was not ranked.
    unknown_words : list of str
        Words of the question that the model does not know.
    off_topic : bool
        Whether the model takes the question for one about something else than music.
    """

    hits: list[Hit]
    failures: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    n_references: int = 0
    n_cached: int = 0
    n_passages: int = 0
    remarks: list[str] = field(default_factory=list)
    unknown_words: list[str] = field(default_factory=list)
    off_topic: bool = False

    @property
    def notes(self) -> list[str]:
        """What is reported beside the hits, a sentence each.

        Examples
        --------
        >>> for note in Answer([], skipped=["a.pdf", "b.pdf"], unknown_words=["asdf"]).notes:
        ...     print(note)
        skipped files of other types: 2 .pdf.
        the model does not know 'asdf': say it in other words, or take larger weights.
        """
        notes = [f"skipped files of other types: {listed}." for listed in [suffixes(self.skipped)] if listed]
        notes += self.remarks
        if self.unknown_words:
            named = ", ".join(repr(printable(word[:40])) for word in self.unknown_words[:5])
            notes.append(f"the model does not know {named}: say it in other words, or take larger weights.")
        if self.off_topic:
            notes.append(
                "this may not be about music, or in words the model does not understand; "
                "the results may be no better than chance."
            )
        return notes


def understood(question: Question, asked: Asked, model: Clamp3, hits: Sequence[Hit]) -> dict[str, Any]:
    """Return ``unknown_words`` and ``off_topic`` of an `Answer`; what a hit has in its title or name is on topic.

    Parameters
    ----------
    question : Question
    asked : Asked
        The same, resolved.
    model : Clamp3
    hits : sequence of Hit
    """
    unknown = model.unknown_words(question.all_words)
    words = words_of(question.only_text)
    off_topic = bool(words) and model.is_off_topic(asked.vector)
    if off_topic:
        named = {word for hit in hits for word in words_of(f"{hit.title} {hit.name}")}
        telling = [word for word in words if len(word) >= (2 if word.isdigit() else LONG) or not word.isascii()]
        off_topic = named.isdisjoint(telling)
    return {"unknown_words": unknown, "off_topic": off_topic}


def suffixes(names: Sequence[str]) -> str:
    """Return how many files of which suffixes there are, "" of none."""
    counts = Counter(PurePosixPath(name).suffix.lower() for name in names if not name.endswith("/"))
    return ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in sorted(counts.items()))
