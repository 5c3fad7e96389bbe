"""The conditions of filters as expressions of Milvus, read by sqlglot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clamp3.errors import ConfigError

UNKNOWN = -(1 << 62)  # in place of numbers that are not known, which Milvus before 2.5 has not
_EVERY, _NONE = 'id != ""', 'id == ""'
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def folded(field: str) -> str:
    """Return the name of the field that has a text in small letters."""
    return f"{field}_folded"


def to_expression(where: str, types: Mapping[str, type], values_of: Callable[[str], Iterable[str]]) -> str:
    """Return a condition as Milvus takes it; a comparison with an unknown number is false, and so is its negation.

    Parameters
    ----------
    where : str
        SQL, as `clamp3.index.where.to_sql` returns it.
    types : mapping from str to type
        Of the fields.
    values_of : callable
        Returns all values of a field, among which those that have a part are looked up.

    Examples
    --------
    >>> to_expression("(NOT ((lower(key) = 'c') OR (year < 1700)))", {"key": str, "year": int}, lambda field: ())
    '((key_folded != "c") and (year >= 1700.0 and year != -4611686018427387904))'
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        return _Writer(types, values_of).condition(sqlglot.parse_one(where, dialect="postgres"), True)
    except (SqlglotError, RecursionError):
        raise ConfigError("the filter is too long or nested too deeply for Milvus.") from None


class _Writer:
    """A parsed condition to an expression; what is denied is turned round, because nothing else knows of unknown."""

    def __init__(self, types: Mapping[str, type], values_of: Callable[[str], Iterable[str]]) -> None:
        self._types, self._values_of = types, values_of

    def condition(self, node: Any, holds: bool) -> str:
        from sqlglot import exp

        signs: dict[type, str] = {exp.EQ: "==", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
        if isinstance(node, exp.Paren):
            return self.condition(node.this, holds)
        if isinstance(node, exp.Not):
            return self.condition(node.this, not holds)
        if isinstance(node, (exp.And, exp.Or)):
            joint = "and" if isinstance(node, exp.And) is holds else "or"
            return f"({self.condition(node.this, holds)} {joint} {self.condition(node.expression, holds)})"
        if isinstance(node, exp.In):
            return self._among(node.this.name, [each.name for each in node.expressions], holds)
        if isinstance(node, exp.Is):
            return f"({node.this.name} {'==' if holds else '!='} {UNKNOWN})"
        sign = signs[type(node)]
        if isinstance(node.this, exp.StrPosition):
            return self._with_part(node.this, holds)
        if isinstance(node.this, exp.Literal):  # 1 = 0, of a list of nothing
            return _EVERY if (node.this.name == node.expression.name) is holds else _NONE
        return self._comparison(node.this, sign if holds else _OPPOSITE[sign], node.expression)

    def _comparison(self, left: Any, sign: str, right: Any) -> str:
        from sqlglot import exp

        field = folded(left.this.name) if isinstance(left, exp.Lower) else left.name
        if isinstance(right, exp.Literal) and right.is_string:
            return f"({field} {sign} {json.dumps(right.name, ensure_ascii=False)})"
        number: Any = float(right.sql())
        known = f" and {field} != {UNKNOWN}" if sign != "==" else ""
        return f"({field} {sign} {number!r}{known})"

    def _among(self, field: str, values: Iterable[str], holds: bool) -> str:
        listed = json.dumps(sorted(values), ensure_ascii=False)
        if listed == "[]":
            return _NONE if holds else _EVERY
        return f"({field} {'in' if holds else 'not in'} {listed})"

    def _with_part(self, node: Any, holds: bool) -> str:
        field, part = folded(node.this.this.name), node.args["substr"].name
        return self._among(field, {value for value in self._values_of(field) if part in value}, holds)
