"""The one reader of tables: CSV, JSON and JSON Lines, and the lines of a file with their offsets."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from clamp3.errors import Clamp3Error, DataError, FormatError, printable

_BOM = b"\xef\xbb\xbf"


@contextmanager
def reading(path: Path, error: type[Clamp3Error] = FormatError) -> Iterator[None]:
    """Turn what is wrong with a table as a file into an error of the project.

    Parameters
    ----------
    path : Path
        Named in the message.
    error : type
        Raised for a file that cannot be read; text that is not UTF-8 is always a `FormatError`.
    """
    try:
        yield
    except OSError as failure:
        raise error(f"{printable(path)} cannot be read ({failure.strerror or failure}).") from None
    except UnicodeDecodeError as failure:
        raise FormatError(f"{printable(path)} is not UTF-8 ({failure.reason}).") from None


def lines_in(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line with its end) of a file; lines end with a newline character only.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    start = 0
    with open(path, "rb") as stream:
        for line in stream:
            yield start, line
            start += len(line)


def parse_json(data: bytes, *, strict: bool = False) -> Any:
    """Return the value of a line or a whole file, with or without a byte-order mark.

    Parameters
    ----------
    data : bytes
    strict : bool
        Refuse NaN and Infinity, which JSON does not have.

    Raises
    ------
    FormatError
        What is wrong, without the place: ``not UTF-8``, ``not JSON: …``.

    Examples
    --------
    >>> parse_json(b'{"title": "Drowsy Maggie", "bars": 16}')
    {'title': 'Drowsy Maggie', 'bars': 16}
    """
    try:
        return (_STRICT if strict else _DECODER).decode(data.removeprefix(_BOM).decode("utf-8"))
    except UnicodeDecodeError:
        raise FormatError("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}") from None


def _refuse(constant: str) -> NoReturn:
    raise FormatError(f"{constant} is not JSON")


_DECODER, _STRICT = json.JSONDecoder(), json.JSONDecoder(parse_constant=_refuse)


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises
    ------
    FormatError
        If the file cannot be read or is no JSON; the message has its path.
    """
    with reading(path):
        return _parsed(path.read_bytes(), printable(path))


def read_jsonl(path: Path, *required: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file, or of a file with one JSON array of objects; see `each_jsonl`.

    Parameters
    ----------
    path : Path
    *required : str
        Fields every object must have.
    """
    return list(each_jsonl(path, *required))


def each_jsonl(path: Path, *required: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file one by one, or those of a file with one JSON array of objects.

    Parameters
    ----------
    path : Path
    *required : str
        Fields every object must have.

    Raises
    ------
    FormatError
        If the file cannot be read; the message has the row's number.
    DataError
        If it has no row.
    """
    name, n_rows = printable(path), 0
    with reading(path):
        with open(path, "rb") as stream:
            array = stream.read(64).removeprefix(_BOM).lstrip().startswith(b"[")
        rows = read_json(path) if array else (line for _, line in lines_in(path))
        for number, row in enumerate(rows, start=1):
            if not array:
                if not row.strip():
                    continue
                row = _parsed(row, f"{name}:{number}")
            _check(row, required, f"{name}:{number}")
            n_rows += 1
            yield row
    if not n_rows:
        raise DataError(f"{name} holds no rows.")


def read_csv(path: Path, *required: str, delimiter: str | None = None) -> list[dict[str, str]]:
    """Return the rows of a table with a header line, by column name.

    Parameters
    ----------
    path : Path
    *required : str
        Columns that must be there.
    delimiter : str, optional
        Of the fields; by default a tab in ``.tsv`` files, else a comma.

    Raises
    ------
    FormatError
        If the file cannot be read or lacks a column.
    DataError
        If it has no row.
    """
    delimiter = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    with reading(path), open(path, encoding="utf-8-sig", newline="") as stream:
        try:
            rows = list(csv.DictReader(stream, delimiter=delimiter))
        except csv.Error as error:
            raise FormatError(f"{printable(path)} is no table ({error}).") from None
    if not rows:
        raise DataError(f"{printable(path)} holds no rows.")
    for number, row in enumerate(rows, start=2):
        present = {name: value for name, value in row.items() if value is not None}
        _check(present, required, f"{printable(path)}:{number}")
    return rows


def _parsed(data: bytes, place: str) -> Any:
    try:
        return parse_json(data)
    except FormatError as error:
        raise FormatError(f"{place} is {error}.") from None


def _check(row: Any, required: tuple[str, ...], place: str) -> None:
    if not isinstance(row, dict):
        raise FormatError(f"{place} is no record with named fields.")
    lacking = [name for name in required if name not in row]
    if lacking:
        raise FormatError(f"{place} lacks {', '.join(lacking)}; it has {', '.join(map(str, row))}.")
