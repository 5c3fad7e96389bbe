"""How many notes a score has, counted without reading the music: what the conversions are checked against."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree.ElementTree import Element

from clamp3.errors import FormatError

MAX_LOST = 0.05
"""Share of notes from which on a conversion has failed: with a few ornaments lost a piece stays itself."""

# In MEI, readings that are not the text, if another one stands beside them.
_SECOND = {
    "app": ("lem", "rdg"),
    "choice": ("corr", "reg", "expan", "orig", "sic", "abbr", "unclear"),
    "subst": ("add",),
}
_ABC_SKIPPED = re.compile(r'"[^"]*"|![^!\n]*!|\[[A-Za-z]:[^\]\n]{0,200}\]|%.*|^[A-Za-z+]:.*', re.MULTILINE)


def difference(n_source: int | None, n_read: int, by: str) -> tuple[str, ...]:
    """Compare the notes of a source with those of its conversion.

    Parameters
    ----------
    n_source : int or None
        None if they cannot be counted.
    n_read : int
    by : str
        Who converted.

    Returns
    -------
    tuple of str
        A note if the numbers differ.

    Raises
    ------
    FormatError
        If they differ by more than `MAX_LOST`.
    """
    if n_source is None or n_source == n_read:
        return ()
    what = f"{n_read} of {n_source} notes" if n_read < n_source else f"{n_read} notes instead of {n_source}"
    if abs(n_source - n_read) > MAX_LOST * n_source:
        raise FormatError(f"{by} made {what}.")
    return (f"{what} by {by}",)


def in_source(content: str | Element, suffix: str) -> int | None:
    """Count the notes of a notation file; None where notes are not written one by one.

    Parameters
    ----------
    content : str or Element
        Text of a kern file, or the tree of an XML file without namespaces.
    suffix : str
        In lower case.
    """
    count: Callable[..., int] | None = _COUNTS.get(suffix)
    return None if count is None else count(content)


def in_musicxml(root: Element) -> int:
    """Count the notes of a partwise tree, those of chords and grace notes included."""
    return sum(note.find("pitch") is not None or note.find("unpitched") is not None for note in root.iter("note"))


def in_abc(text: str) -> int:
    r"""Count the notes of an ABC text as xml2abc writes it.

    Examples
    --------
    >>> in_abc('X:1\nK:C\nV:1\n "Am"[CE]2 !f!{d}c z [K:G]\nw: Sing |')
    4
    """
    return len(re.findall(r"[A-Ga-g]", _ABC_SKIPPED.sub("", text)))


def _in_mei(node: Element) -> int:
    total = 0
    for child in node:
        if child.tag in ("note", "del", "oStaff", "oLayer", "meiHead"):
            total += child.tag == "note"
        elif child.tag in _SECOND:
            readings = [one for tag in _SECOND[child.tag] for one in child if one.tag == tag] or list(child)
            total += sum(one.tag == "note" or _in_mei(one) for one in readings[:1])
        elif child.tag == "restore":
            total += sum(_in_mei(one) if one.tag != "note" else 1 for one in child)
        else:
            total += _in_mei(child)
    return total


def _in_kern(text: str) -> int:
    """Count the note tokens in columns that are, or were split from, kern spines."""
    columns: list[bool] = []
    total = 0
    for line in text.lstrip("\ufeff").split("\n"):
        tokens = line.rstrip("\r").split("\t")
        first = tokens[0][:1]
        if first == "*":
            if not columns and tokens[0].startswith("**"):
                columns = [field.strip() == "**kern" for field in tokens]
            else:
                columns = _moved(tokens, columns)
        elif first not in ("!", "=", ""):
            for field, is_kern in zip(tokens, columns, strict=False):
                if is_kern and field != ".":
                    total += sum("r" not in one and re.search(r"[a-gA-GR]", one) is not None for one in field.split())
    return total


def _moved(tokens: list[str], columns: list[bool]) -> list[bool]:
    """Return which columns are of kern after a line of interpretations."""
    after: list[bool] = []
    before = ""
    for field, is_kern in zip(tokens, columns, strict=False):
        now = field.strip() == "**kern" if field.startswith("**") else is_kern
        joins = field == before == "*v" and after[-1:] == [now]
        if field != "*-" and not joins:
            after.append(now)
        if field in ("*^", "*+"):
            after.append(now and field == "*^")
        before = field
    return after + columns[len(tokens) :]


def _heads(root: Element) -> int:
    return sum(True for _ in root.iter("head"))


_COUNTS: dict[str, Callable[..., int]] = {
    ".krn": _in_kern,
    ".mei": _in_mei,
    ".capx": _heads,
    ".musicxml": in_musicxml,
}
