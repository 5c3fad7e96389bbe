"""Filters such as ``composer = "Bach" and duration < 180``: read as an expression, checked, and written as SQL.

Python's own parser reads them; only comparisons of the fields of an index with constants, ``and``, ``or``, ``not`` and
brackets are let through, so that nothing a user types reaches a store but checked names and quoted constants.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

from clamp3.errors import ConfigError, sentence_of

MAX_CHARACTERS = 2000
# A string as it is; = for ==; SQL's words and <> for Python's.
_TOKENS = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(<>)|(?<![<>=!])=(?!=)|\b(and|or|not|in|is|null)\b""", re.IGNORECASE
)
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "=",
    ast.NotEq: "<>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "=",
    ast.IsNot: "<>",
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def to_sql(where: str, fields: Mapping[str, type]) -> str:
    r"""Return a filter as a condition that every store understands.

    Parameters
    ----------
    where : str
        Text is compared ignoring case; ``"bach" in composer`` asks for a part of it, ``year = null`` for what is not
        known, ``1800 < year < 1850`` for both.
    fields : mapping from str to type
        ``str``, ``int`` or ``float`` of each field that may be asked for.

    Raises
    ------
    ConfigError
        If it is no such filter.

    Examples
    --------
    >>> to_sql('composer = "Bach" and not year < 1700', {"composer": str, "year": int})
    "((lower(composer) = 'bach') AND (NOT (year < 1700)))"
    >>> to_sql('genre in ("jig", "reel") or "o\'c" in title', {"genre": str, "title": str})
    "(((lower(genre) = 'jig') OR (lower(genre) = 'reel')) OR (strpos(lower(title), 'o''c') > 0))"
    """
    if len(where) > MAX_CHARACTERS:
        raise ConfigError(f"the filter has {len(where)} characters; at most {MAX_CHARACTERS} are possible.")
    text = _TOKENS.sub(_in_python, where.strip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or error
        raise ConfigError(
            f"the filter {sentence_of(where, 100)!r} cannot be read ({sentence_of(reason, 100)}); "
            """write for instance: composer = "Bach" and duration < 180."""
        ) from None
    try:
        return _Writer(fields).condition(tree)
    except RecursionError:
        raise ConfigError("the filter is nested too deeply.") from None


def quoted(text: str) -> str:
    """Return a text as an SQL constant."""
    return "'" + text.replace("'", "''") + "'"


def both(one: str | None, other: str) -> str:
    """Return the condition that two hold, of which the first may be none.

    Parameters
    ----------
    one : str, optional
    other : str
        SQL, as `to_sql` returns it.

    Examples
    --------
    >>> both(None, "year < 1700"), both("year > 1600", "year < 1700")
    ('year < 1700', '(year > 1600) AND (year < 1700)')
    """
    return f"({one}) AND ({other})" if one else other


def _in_python(token: re.Match[str]) -> str:
    if token[1] is not None:
        return token[1]
    if token[0] == "=":
        return "=="
    return "!=" if token[2] else "None" if token[3].lower() == "null" else token[3].lower()


class _Writer:
    """A parsed filter to SQL; everything it does not know is refused."""

    def __init__(self, fields: Mapping[str, type]) -> None:
        self._fields = fields

    def condition(self, node: ast.expr) -> str:
        if isinstance(node, ast.BoolOp):
            joint = " AND " if isinstance(node.op, ast.And) else " OR "
            return "(" + joint.join(self.condition(value) for value in node.values) + ")"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return f"(NOT {self.condition(node.operand)})"
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            parts = [self._pair(op, *pair) for op, *pair in zip(node.ops, sides, sides[1:], strict=False)]
            return parts[0] if len(parts) == 1 else "(" + " AND ".join(parts) + ")"
        raise ConfigError(f"the filter has {ast.unparse(node)!r} where a comparison such as year < 1900 should be.")

    def _pair(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> str:
        if isinstance(op, (ast.In, ast.NotIn)):
            found = self._member(left, right)
            return found if isinstance(op, ast.In) else f"(NOT {found})"
        sign = _COMPARISONS[type(op)]
        if not isinstance(left, ast.Name):
            left, right, sign = right, left, _MIRRORED.get(sign, sign)
        return self._comparison(self._field(left), sign, self._constant(right))

    def _member(self, left: ast.expr, right: ast.expr) -> str:
        if isinstance(right, (ast.Tuple, ast.List, ast.Set)):
            name = self._field(left)
            parts = [self._comparison(name, "=", self._constant(each)) for each in right.elts]
            return "(" + " OR ".join(parts or ["1 = 0"]) + ")"
        name, part = self._field(right), self._constant(left)
        if self._fields[name] is not str or not isinstance(part, str):
            raise ConfigError(f"{ast.unparse(left)} in {name}: only a text can be part of a field, and only of text.")
        return f"(strpos(lower({name}), {quoted(part.lower())}) > 0)"

    def _comparison(self, name: str, sign: str, value: str | float | None) -> str:
        if value is None:
            if sign not in ("=", "<>"):
                raise ConfigError(f"{name} {sign} null means nothing; ask for {name} = null.")
            unknown = f"{name} = ''" if self._fields[name] is str else f"{name} IS NULL"
            return f"({unknown})" if sign == "=" else f"(NOT ({unknown}))"
        if (self._fields[name] is str) != isinstance(value, str):
            wanted = "text" if self._fields[name] is str else "a number"
            raise ConfigError(f"{name} is {wanted}; the filter compares it with {value!r}.")
        if isinstance(value, str):
            return f"(lower({name}) {sign} {quoted(value.lower())})"
        return f"({name} {sign} {value!r})"

    def _field(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name) and node.id.lower() in self._fields:
            return node.id.lower()
        raise ConfigError(f"{ast.unparse(node)!r} is no field; there are {', '.join(self._fields)}.")

    def _constant(self, node: ast.expr) -> str | float | None:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value: Any = self._constant(node.operand)
            if isinstance(value, (int, float)):
                return -value
        elif isinstance(node, ast.Constant):
            value = node.value
            if value is None or (isinstance(value, str) and value.isprintable()):
                return value
            if type(value) is int and abs(value) < 1 << 53:
                return value
            if type(value) is float and math.isfinite(value):
                return value
        elif isinstance(node, ast.Name):
            raise ConfigError(f"{node.id!r} needs quotation marks, or is no field; fields: {', '.join(self._fields)}.")
        raise ConfigError(f"{ast.unparse(node)[:80]!r} is neither a text in quotation marks nor a number.")
