"""Sentences and text files: distinct lines to token ids."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from clamp3.errors import FormatError
from clamp3.formats import Kind
from clamp3.formats.guards import decode_text
from clamp3.modalities.base import Modality, Payload, Prepared


class Tokenizer(Protocol):
    """The part of ``clamp3.models.tokenizer.TextTokenizer``, the front end of a text tower, that is used here."""

    def encode_lines(self, lines: list[str]) -> list[int]:
        """Return the ids of lines joined by the separator token."""


class Text(Modality):
    """Words in any language; the front end is a `Tokenizer`."""

    name = "text"
    kinds = frozenset({Kind.TEXT})

    def prepare(self, payload: Payload, front_end: Tokenizer | None = None, *, marked: bool = False) -> Prepared:
        """Return token ids, int64, shape (T,); see `Modality.prepare`."""
        data, _, name = payload
        assert isinstance(data, bytes) and front_end is not None
        return Prepared(self.name, np.asarray(front_end.encode_lines(text_of(data, name)), np.int64))


TEXT = Text()


def text_lines(text: str) -> list[str]:
    r"""Return the lines of a text without repetitions and empty ones, in order.

    Examples
    --------
    >>> text_lines("a waltz\n\nin G\na waltz")
    ['a waltz', 'in G']
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line for line in dict.fromkeys(lines) if line]


def text_of(data: bytes, name: str) -> list[str]:
    """Return the distinct lines of a text file.

    Parameters
    ----------
    data : bytes
        Its content.
    name : str
        Its name in messages.

    Raises
    ------
    FormatError
        If the bytes are not text, or blank.
    """
    lines = text_lines(decode_text(data))
    if not any(line.strip() for line in lines):
        raise FormatError(f"{name} holds no words.")
    return lines
