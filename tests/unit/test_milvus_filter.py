"""Filters as expressions of Milvus, which are Python's too: they let through what SQLite's do."""

import itertools
import sqlite3

import pytest

from clamp3.errors import ConfigError
from clamp3.index.milvus_filter import UNKNOWN, folded, to_expression
from clamp3.index.where import both, to_sql

TYPES = {"title": str, "key": str, "modality": str, "year": int, "duration": float}
FILTERS = [
    "title = 'Élise' and year > 1800",
    "title <> 'élise' or year <= 1800",
    "not (title = 'x' or not year > 1800)",
    "not (year > 1800 and duration < 2)",
    "not (not duration >= 2.5)",
    "1700 < year < 1850 and not duration = 2.5",
    "year = null or duration = null",
    "not year = null and not duration <> null",
    "'éli' in title or 'quote\"s' in title",
    "not 'is' in title",
    "'nowhere' in key",
    "not 'nowhere' in key",
    "title in ('élise', 'x') and not year in (1800, 1810)",
    "key in () or year = -5",
    "not key in ()",
    "key = null and title <> null",
    "-6 < year",
]


def rows():
    titles, keys = ["Élise", 'is it\'s "quote"s\\', ""], ["C major", ""]
    values = itertools.product(titles, keys, ["score", "text"], [None, -5, 1800, 1810], [None, 0.5, 2.5])
    return [dict(zip(TYPES, each, strict=True)) for each in values]


@pytest.mark.parametrize("where", FILTERS)
@pytest.mark.parametrize("more", [None, "modality <> 'text'", "title IN ('Élise', 'b') AND (modality = 'text')"])
def test_expressions_let_through_what_sqlite_does(where, more):
    condition = both(more, to_sql(where, TYPES))
    database = sqlite3.connect(":memory:")
    database.create_function("lower", 1, str.lower)
    database.create_function("strpos", 2, lambda text, part: text.find(part) + 1)
    database.execute(f"CREATE TABLE pieces ({', '.join(TYPES)})")
    database.executemany("INSERT INTO pieces VALUES (?, ?, ?, ?, ?)", [tuple(row.values()) for row in rows()])
    numbers = database.execute(f"SELECT rowid FROM pieces WHERE {condition}")
    expected = sorted(number - 1 for (number,) in numbers)

    def kept(row):
        text = {folded(name): row[name].lower() for name, kind in TYPES.items() if kind is str}
        return {name: UNKNOWN if value is None else value for name, value in row.items()} | text | {"id": "0/x"}

    expression = to_expression(condition, TYPES, lambda field: {kept(row)[field] for row in rows()})
    found = [n for n, row in enumerate(rows()) if eval(expression, {"__builtins__": {}}, kept(row))]
    assert found == expected


def test_what_is_nested_too_deeply_is_one_sentence():
    with pytest.raises(ConfigError, match="for Milvus"):
        to_expression("(" * 4000 + "year = 1" + ")" * 4000, TYPES, lambda field: ())
