"""A pyparsing grammar that tries only what can begin with the next letter; it reads the same in half of the time.

abc2xml's grammar tries some thirty expressions at every note, and each that fails raises an exception. Which letters an
expression can begin with is known for most of them, so the others need not be tried: alternatives, optional
expressions and repetitions are changed, their results and messages are not.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

# Whether pyparsing remembers results, which others (matplotlib) switch on for the whole process. What it remembers of
# an expression that was not tried is not what it would remember of one that was.
_MEMORY = "_packratEnabled"
_PATTERNS = "re._parser" if sys.version_info >= (3, 11) else "sre_parse"


def look_ahead(grammar: Any) -> None:
    """Change an expression, and all that it consists of, in place.

    Parameters
    ----------
    grammar : pyparsing.ParserElement
        Complete; nothing may be added to it afterwards.
    """
    import pyparsing as pp

    grammar.streamline()
    parts: dict[int, Any] = {}
    todo = [grammar]
    while todo:
        part = todo.pop()
        if id(part) not in parts:
            parts[id(part)] = part
            todo += [*getattr(part, "exprs", ()), *filter(None, [getattr(part, "expr", None)])]
    known: dict[int, frozenset[str] | None] = {}
    for part in parts.values():
        if type(part) is pp.MatchFirst:
            _narrow(part, [(one, _first(one, known)) for one in part.exprs])
        elif type(part) in (pp.Opt, pp.ZeroOrMore) and (letters := _first(part.expr, known)) is not None:
            _guard(part, letters)


def _narrow(choice: Any, alternatives: list[tuple[Any, frozenset[str] | None]]) -> None:
    """Let a choice try those alternatives that can begin with the letter where it stands."""
    from pyparsing import ParserElement

    tables: dict[str, Callable[..., Any]] = {}
    everything = choice.parseImpl

    def parse(text: str, place: int, do_actions: bool = True) -> Any:
        letter = text[place : place + 1]
        if letter <= " " or getattr(ParserElement, _MEMORY, True):  # white space, or the end
            return everything(text, place, do_actions)
        if letter not in tables:
            narrow = choice.copy()
            narrow.__dict__.pop("parseImpl", None)
            narrow.exprs = [one for one, letters in alternatives if letters is None or letter in letters]
            tables[letter] = narrow.parseImpl if narrow.exprs else everything
            if len(tables) > _MOST_LETTERS:
                tables.clear()
                return everything(text, place, do_actions)
        return tables[letter](text, place, do_actions)

    choice.parseImpl = parse


_MOST_LETTERS = 1000


def _guard(part: Any, letters: frozenset[str]) -> None:
    """Let an optional expression or a repetition be absent where its expression cannot begin."""
    import pyparsing as pp

    everything = part.parseImpl
    try:
        absent = everything("", 0, False)[1]
    except Exception:  # not what is expected of this version of pyparsing: left as it is
        return

    def parse(text: str, place: int, do_actions: bool = True) -> Any:
        letter = text[place : place + 1]
        if letter <= " " or letter in letters or getattr(pp.ParserElement, _MEMORY, True):
            return everything(text, place, do_actions)
        return place, pp.ParseResults([]) if isinstance(absent, pp.ParseResults) else list(absent)

    part.parseImpl = parse


def _first(part: Any, known: dict[int, frozenset[str] | None]) -> frozenset[str] | None:
    """Return the letters that an expression can begin with, None if that is not known or it can be empty."""
    if id(part) not in known:
        known[id(part)] = None  # while it is looked for inside itself
        known[id(part)] = _letters(part, known)
    return known[id(part)]


def _letters(part: Any, known: dict[int, frozenset[str] | None]) -> frozenset[str] | None:
    import pyparsing as pp

    if isinstance(part, pp.Literal):
        return frozenset(part.match[:1]) or None
    if type(part) is pp.Word:
        return frozenset(getattr(part, "initChars", ())) or None
    if type(part) is pp.Regex:
        return _of_pattern(importlib.import_module(_PATTERNS).parse(part.pattern))
    if type(part) is pp.And:
        return _of_sequence(part.exprs, known)
    if type(part) is pp.MatchFirst:
        return _union(_first(one, known) for one in part.exprs)
    if type(part) in (pp.Group, pp.Suppress, pp.Combine, pp.OneOrMore, pp.Forward, pp.FollowedBy):
        return None if part.expr is None else _first(part.expr, known)
    return None


def _of_sequence(parts: list[Any], known: dict[int, frozenset[str] | None]) -> frozenset[str] | None:
    import pyparsing as pp

    letters: frozenset[str] = frozenset()
    for part in parts:
        if type(part) is pp.NotAny:
            continue
        optional = type(part) in (pp.Opt, pp.ZeroOrMore)
        own = _first(part.expr if optional else part, known)
        if own is None:
            return None
        letters |= own
        if not optional:
            return letters
    return None


def _of_pattern(pattern: Any) -> frozenset[str] | None:
    """Return the letters that a regular expression can begin with, where it says so plainly."""
    for operation, value in list(pattern)[:1]:
        name = str(operation)
        if name == "LITERAL":
            return frozenset(chr(value))
        if name == "IN":
            return _union(_of_class(str(kind), what) for kind, what in value)
        if name == "BRANCH":
            return _union(map(_of_pattern, value[1]))
        if name == "SUBPATTERN":
            return _of_pattern(value[-1])
    return None


def _of_class(kind: str, what: Any) -> frozenset[str] | None:
    if kind == "LITERAL":
        return frozenset(chr(what))
    return frozenset(map(chr, range(what[0], what[1] + 1))) if kind == "RANGE" and what[1] < 256 else None


def _union(sets: Any) -> frozenset[str] | None:
    found = list(sets)
    return None if not found or None in found else frozenset().union(*found)
