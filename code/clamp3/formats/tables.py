"""The one reader of tables: CSV, JSON and JSON Lines, and the lines of a file with their offsets.

Whatever a file holds, what comes out is a value of bounded size and depth or one sentence; what types its fields have
is checked by `clamp3.formats.fields`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from clamp3.errors import Clamp3Error, DataError, FormatError, printable
from clamp3.formats.fields import typed

MAX_DEPTH = 64  # lists and objects inside each other; what is printed, copied or written again has to recurse too
MAX_LINE_BYTES = 64 << 20
MAX_FILE_BYTES = 512 << 20

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
    except ValueError as failure:
        if "null" not in str(failure):  # in its name
            raise
        raise error(f"{printable(path)} cannot be read ({failure}).") from None


def lines_in(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line with its end) of a file; lines end with a newline character only.

    Of a line longer than `MAX_LINE_BYTES`, which no reader of ours writes, only the beginning is given.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    start = 0
    with open(path, "rb") as stream:
        while line := stream.readline(MAX_LINE_BYTES):
            size = len(line)
            while not line.endswith(b"\n") and (more := stream.readline(MAX_LINE_BYTES)):
                size += len(more)
                if more.endswith(b"\n"):
                    break
            yield start, line
            start += size


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
        What is wrong, without the place: ``not UTF-8``, ``not JSON: …``, ``nested too deeply``.

    Examples
    --------
    >>> parse_json(b'{"title": "Drowsy Maggie", "bars": 16}')
    {'title': 'Drowsy Maggie', 'bars': 16}
    """
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        value = (_STRICT if strict else _DECODER).decode(data.removeprefix(_BOM).decode("utf-8"))
    except UnicodeDecodeError:
        raise FormatError("not UTF-8") from None
    except RecursionError:
        raise FormatError(_TOO_DEEP) from None
    except ValueError as error:
        raise FormatError(f"not JSON: {str(error).partition('; use sys.')[0]}") from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for outer in level
            for part in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(part, dict | list)
        ]
        if not level:
            return
    raise FormatError(_TOO_DEEP)


def _refuse(constant: str) -> NoReturn:
    raise FormatError(f"{constant} is not JSON")


_TOO_DEEP = f"nested too deeply: {MAX_DEPTH} lists and objects inside each other is the limit"
_DECODER, _STRICT = json.JSONDecoder(), json.JSONDecoder(parse_constant=_refuse)


def read_json(path: Path, kind: Any = Any, *, error: type[Clamp3Error] = FormatError, default: Any = ...) -> Any:
    """Return the value of a JSON file.

    Parameters
    ----------
    path : Path
    kind : type, optional
        What the value has to be, as `clamp3.formats.fields.typed` takes it.
    error : type, optional
        What is raised.
    default : object, optional
        Returned if there is no such file.

    Raises
    ------
    FormatError or error
        If the file cannot be read, is no JSON or holds something else; the message has its path.
    """
    name = printable(path)
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        return typed(kind, _parsed(data, name), name)
    except (OSError, ValueError) as failure:  # ValueError: a NUL in its name
        if default is not ... and isinstance(failure, FileNotFoundError | NotADirectoryError):
            return default
        raise error(f"{name} cannot be read ({getattr(failure, 'strerror', None) or failure}).") from None
    except FormatError as failure:
        raise error(str(failure)) from None


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


def read_csv(path: Path, *required: str, delimiter: str | None = None, header: bool = True) -> list[dict[str, str]]:
    """Return the rows of a table by column name.

    Parameters
    ----------
    path : Path
    *required : str
        Columns that must be there.
    delimiter : str, optional
        Of the fields; by default a tab in ``.tsv`` files, else a comma.
    header : bool
        Whether the first line names the columns; without it they are 1, 2, 3 …

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
            lines = csv.reader(stream, delimiter=delimiter)
            columns = None if header else [str(number) for number, _ in enumerate(next(lines, []), start=1)]
            stream.seek(0)
            rows = list(csv.DictReader(stream, columns, delimiter=delimiter))
        except csv.Error as error:
            raise FormatError(f"{printable(path)} is no table ({error}).") from None
    if not rows:
        raise DataError(f"{printable(path)} holds no rows.")
    for number, row in enumerate(rows, start=2):
        present = {name: value for name, value in row.items() if value is not None}
        _check(present, required, f"{printable(path)}:{number}")
    return rows


def read_rows(path: Path, *required: str) -> list[dict[str, Any]]:
    """Return the rows of a table by its suffix: `read_csv` of ``.csv`` and ``.tsv``, else `read_jsonl`.

    Parameters
    ----------
    path : Path
    *required : str
        Columns that must be there.
    """
    return [*read_csv(path, *required)] if path.suffix.lower() in (".csv", ".tsv") else read_jsonl(path, *required)


def without_nan(value: Any) -> Any:
    """Return lists and objects with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that every reader takes: null in place of NaN, half surrogates as escapes.

    Parameters
    ----------
    value : object
    indent : int, optional
        Blanks per level.

    Examples
    --------
    >>> json_text({"score": float("nan"), "title": "Für Elise"})
    '{"score": null, "title": "Für Elise"}'
    """
    plain = without_nan(value)
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(plain, allow_nan=False, indent=indent)
    return text


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
