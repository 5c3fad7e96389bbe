"""Listening and rating logs: a row per event with user, item, time and what happened, read by duckdb.

The optional package duckdb reads CSV, TSV, JSON Lines and Parquet, keeps what does not fit in memory on the disk, and
does all counting here; nothing of the log goes through Python.
"""

# ruff: noqa: S608 (what is put into SQL are names of ours, and columns in quotes)
from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clamp3.errors import ConfigError, DataError, printable, sentence_of

COLUMNS = {
    "user": ("user", "user_id", "userid", "listener", "session_user"),
    "item": ("item", "item_id", "itemid", "song", "song_id", "track", "track_id", "movieid"),
    "time": ("time", "timestamp", "ts", "datetime", "date"),
    "event": ("event", "rating", "action", "value", "event_type"),
}
"""What the columns may be called, whatever the case; MovieLens' names are among them."""

_MILLISECONDS = 1e11  # as seconds, the year 5138


@dataclass(frozen=True)
class Log:
    """Where a log lies, and which of its rows say that a user chose an item.

    Attributes
    ----------
    files : sequence of Path
        Of one kind and with the same columns.
    columns : mapping of str to str
        Names of the columns ``user``, ``item``, ``time`` and ``event``, where they are not among `COLUMNS`.
    min_value : float or None
        A row counts if its event is a number of at least this: stars, or seconds played.
    positive : sequence of str
        A row counts if its event is one of these words. With neither every row counts.
    """

    files: Sequence[Path]
    columns: dict[str, str]
    min_value: float | None = None
    positive: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.min_value is not None and self.positive:
            raise ConfigError("Say by --min_value or by --positive which events count, not by both.")
        for file in self.files:
            if not file.is_file():
                raise ConfigError(f"{printable(file)} cannot be read: no such file.")


def duckdb() -> Any:
    """Return the module, an optional part of the installation; a ConfigError says how to get it."""
    try:
        import duckdb as module
    except ImportError:
        raise ConfigError("Parquet files and listening logs need duckdb: pip install 'clamp3[preferences]'.") from None
    return module


@contextmanager
def database(folder: Path | None = None, *, memory_mb: int = 600, threads: int = 2) -> Iterator[Any]:
    """Yield a connection to a temporary database; what duckdb refuses in the block becomes a `DataError`.

    Parameters
    ----------
    folder : Path, optional
        Where its files lie meanwhile (default: the system's folder for temporary files).
    memory_mb, threads : int
        What duckdb may use; more is kept on the disk.
    """
    module = duckdb()
    with tempfile.TemporaryDirectory(prefix=".clamp3-log-", dir=folder) as temporary:
        settings = {"memory_limit": f"{memory_mb}MB", "threads": threads, "temp_directory": f"{temporary}/spilled",
                    "preserve_insertion_order": False, "autoinstall_known_extensions": False}  # fmt: skip
        connection = module.connect(f"{temporary}/log.duckdb", config=settings)
        try:
            yield connection
        except module.Error as error:
            raise DataError(f"The log cannot be read: {sentence_of(error)}") from None
        finally:
            connection.close()


def read_log(connection: Any, log: Log) -> dict[str, int]:
    """Make the table ``chosen`` (who, item, moment: seconds) of the rows that count; times are optional.

    Parameters
    ----------
    connection : duckdb connection
        From `database`.
    log : Log

    Returns
    -------
    dict of str to int
        ``rows`` of the log, those that are ``unreadable`` (no user, no item, or a time or number that is none), and
        those that count as ``chosen``.

    Raises
    ------
    ConfigError
        If a column is not there.
    DataError
        If it cannot be read, or no row counts.
    """
    source, values = _reader(log.files)
    found = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}", values).fetchall()]
    names = {part: _column(part, log.columns.get(part), found) for part in COLUMNS}
    absent = next((part for part in ("user", "item") if names[part] is None), None)
    if absent or (names["event"] is None and (log.min_value is not None or log.positive)):
        shown, absent = ", ".join(map(printable, found)), absent or "event"
        raise ConfigError(f"No column of the log is called {absent}; name it by --{absent}_column. It has {shown}.")
    user, item, time, event = (_quoted(names[part]) for part in ("user", "item", "time", "event"))
    number = f"TRY_CAST({time} AS DOUBLE)"
    at = f"COALESCE(IF({number} > {_MILLISECONDS}, {number} / 1000, {number}), epoch(TRY_CAST({time} AS TIMESTAMP)))"
    counts, wrong = "TRUE", f"{user} = '' OR {item} = '' OR {user} IS NULL OR {item} IS NULL"
    if names["time"] is not None:
        wrong += f" OR {at} IS NULL OR NOT isfinite({at})"
    if log.min_value is not None:
        counts, wrong = f"TRY_CAST({event} AS DOUBLE) >= ?", f"{wrong} OR TRY_CAST({event} AS DOUBLE) IS NULL"
        values = [*values, float(log.min_value)]
    elif log.positive:
        counts, values = f"{event} IN (SELECT UNNEST(?))", [*values, list(log.positive)]
    connection.execute(
        f"CREATE TABLE listed AS SELECT {user} AS who, {item} AS item, {at} AS moment, ({wrong}) AS wrong, "
        f"COALESCE({counts}, FALSE) AS counts FROM {source}",
        values[1:] + values[:1],  # the file's place is last in the statement
    )
    connection.execute("CREATE TABLE chosen AS SELECT who, item, moment FROM listed WHERE counts AND NOT wrong")
    n_rows, n_wrong = connection.execute("SELECT count(*), count(*) FILTER (wrong) FROM listed").fetchone()
    (n_chosen,) = connection.execute("SELECT count(*) FROM chosen").fetchone()
    connection.execute("DROP TABLE listed")
    if not n_chosen:
        raise DataError(f"No row of the log counts: {n_rows} rows, {n_wrong} of them unreadable.")
    return {"rows": n_rows, "unreadable": n_wrong, "chosen": n_chosen}


def held_out(column: str, share: float) -> str:
    """Return SQL that says of an id whether it is held out: the rule of `clamp3.data.splits.split_hashes`.

    Parameters
    ----------
    column : str
    share : float
    """
    return f"('0x' || left(sha256({column}), 16))::UBIGINT < {int(share * 2**64)}::UBIGINT"


def _reader(files: Sequence[Path]) -> tuple[str, list[Any]]:
    """Return SQL of a table function that reads files as text, and its parameter."""
    kinds = {"".join(file.suffixes[-2:] if file.suffix == ".gz" else file.suffixes[-1:]).lower() for file in files}
    readers = {".parquet": "read_parquet(?)"}
    readers |= dict.fromkeys((".jsonl", ".ndjson", ".json", ".jsonl.gz"), "read_json(?)")
    readers |= dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), "read_csv(?, header = true, all_varchar = true)")
    if len(kinds) != 1 or not kinds <= readers.keys():
        raise ConfigError(f"A log is .csv, .tsv, .jsonl or .parquet, of one kind; got {', '.join(sorted(kinds))}.")
    return readers[kinds.pop()], [[str(file) for file in files]]


def _column(part: str, asked: str | None, found: Sequence[str]) -> str | None:
    if asked is not None:
        if asked not in found:
            shown = ", ".join(map(printable, found))
            raise ConfigError(f"--{part}_column {printable(asked)}: the log has {shown}.")
        return asked
    return next((name for known in COLUMNS[part] for name in found if name.lower() == known), None)


def _quoted(name: str | None) -> str:
    """Return SQL of a column as text, whatever its name holds; NULL of none."""
    return "NULL::VARCHAR" if name is None else 'trim("' + name.replace('"', '""') + '"::VARCHAR)'
