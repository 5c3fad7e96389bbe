"""Pairs of songs that listeners chose after each other, from a log; what HTCL's second stage trains on.

A pair is a trigger and a song that the same user chose among the next few of the same session. Nothing here depends
on the order of the rows or on chance: parts are drawn by hashes of the users' ids, ties broken by the items' names.
"""

# ruff: noqa: S608 (what is put into SQL are numbers of `PairRules`, and names of ours)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clamp3.data.listening import Log, held_out, read_log
from clamp3.errors import ConfigError, DataError
from clamp3.formats.tables import json_text
from clamp3.jobs.atomic import replacing, write_text

SPLITS = ("user", "time", "both", "none")
FORMS = {"parquet": "FORMAT parquet", "jsonl": "FORMAT json, ARRAY false"}
_BUCKETS = 10_000  # of the whole time span; how finely the time of the split is found
_PAIRS_AT_ONCE = 10_000_000  # of which users are counted; 300 MB


@dataclass(frozen=True)
class PairRules:
    """What makes a pair.

    Attributes
    ----------
    gap_minutes : float
        A session ends where a user pauses longer; 0 makes one session of all that a user chose.
    window : int
        How many of the next choices of a session a trigger is paired with.
    min_events : int
        How often a user has to have chosen an item.
    min_users, min_items : int
        Users that an item, and items that a user, needs; items first, once each.
    min_support : int
        Users who made a pair.
    max_per_song : int
        Popularity cap: most pairs of a song, on each side. Kept are those with the highest support relative to the
        geometric mean of both songs' users. 0 = no cap.
    split : {"user", "time", "both", "none"}
        What is held out for evaluation: pairs of users; pairs made after a point in time; of users after it; nothing.
    eval_share : float
        Share of the users, or of the choices.
    keep_known : bool
        Keep evaluation pairs that are trained on too, or their reverse.
    """

    gap_minutes: float = 30.0
    window: int = 5
    min_events: int = 1
    min_users: int = 5
    min_items: int = 2
    min_support: int = 2
    max_per_song: int = 200
    split: str = "user"
    eval_share: float = 0.1
    keep_known: bool = False

    def __post_init__(self) -> None:
        for name in ("window", "min_events", "min_users", "min_items", "min_support"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} must be at least 1, got {getattr(self, name)}.")
        if self.gap_minutes < 0 or self.max_per_song < 0:
            raise ConfigError("--gap_minutes and --max_per_song must be 0 or more.")
        if self.split not in SPLITS or not 0 < self.eval_share < 1:
            raise ConfigError(f"--split must be one of {', '.join(SPLITS)}, and --eval_share in (0, 1).")


def make_pairs(connection: Any, log: Log, rules: PairRules, out: Path, *, form: str = "parquet") -> dict[str, Any]:
    """Write ``pairs``, ``eval_pairs`` and ``report.json`` of a log into a folder; return the report.

    Parameters
    ----------
    connection : duckdb connection
        From `clamp3.data.listening.database`.
    log : Log
    rules : PairRules
    out : Path
        Rows are ``trigger``, ``song`` and ``n_users``.
    form : {"parquet", "jsonl"}

    Returns
    -------
    dict
        What was read, kept and left out at every step, and what of the evaluation is known from training.

    Raises
    ------
    ConfigError
        If a column is not there.
    DataError
        If the log cannot be read or makes no pair.
    """
    report: dict[str, Any] = {"log": read_log(connection, log)}
    one = connection.execute
    if one("SELECT count(moment) FROM chosen").fetchone() == (0,):
        raise ConfigError("No column of the log is called time, which pairs need; name it by --time_column.")
    report["kept"] = _keep(connection, rules)
    cutoff = _cutoff(connection, rules)
    report["split"] = {"kind": rules.split, "time": cutoff, **_parts(connection, rules, cutoff)}
    _count_pairs(connection, rules)
    report["pairs"] = _cap(connection, rules)
    report["leakage"] = _leakage(connection, rules)
    if not rules.keep_known:
        one("DELETE FROM pairs WHERE held AND known")
    (n_train,), (n_held,) = (
        one(f"SELECT count(*) FROM pairs WHERE {part}").fetchone() for part in ("NOT held", "held")
    )
    if not n_train:
        raise DataError("The log makes no pair for training; see --min_users, --min_support and --gap_minutes.")
    report["written"] = {"pairs": n_train, "eval_pairs": n_held}
    report["rules"] = {**asdict(rules), "min_value": log.min_value, "positive": list(log.positive)}
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("pairs", "NOT held"), ("eval_pairs", "held")):
        with replacing(out / f"{name}.{form}") as path:
            one(
                "COPY (SELECT t.item AS trigger, s.item AS song, p.n_users FROM pairs p JOIN items t ON t.number = a "
                f"JOIN items s ON s.number = b WHERE {part} ORDER BY a, b) TO '{_literal(path)}' ({FORMS[form]})"
            )
    write_text(out / "report.json", json_text(report, indent=1) + "\n")
    return report


def _literal(path: Path) -> str:
    return str(path).replace("'", "''")


def _keep(connection: Any, rules: PairRules) -> dict[str, int]:
    """Make ``items``, ``users`` and ``events`` of what has enough support; numbers take the place of names."""
    one = connection.execute
    one(f"CREATE TABLE uses AS SELECT who, item FROM chosen GROUP BY ALL HAVING count(*) >= {rules.min_events}")
    one(
        "CREATE TABLE items AS SELECT item, count(*) AS n_users, (row_number() OVER (ORDER BY item))::INTEGER AS "
        f"number FROM uses GROUP BY item HAVING count(*) >= {rules.min_users}"
    )
    one(
        "CREATE TABLE users AS SELECT who, (row_number() OVER (ORDER BY who))::INTEGER AS number, "
        f"{held_out('who', rules.eval_share)} AS held FROM uses SEMI JOIN items USING (item) "
        f"GROUP BY who HAVING count(*) >= {rules.min_items}"
    )
    enough = "SEMI JOIN uses USING (who, item)" if rules.min_events > 1 else ""
    one(
        "CREATE TABLE events AS SELECT u.number AS u, i.number AS i, moment, u.held AS held FROM "
        f"(SELECT * FROM chosen {enough}) JOIN users u USING (who) JOIN items i USING (item)"
    )
    one("DROP TABLE chosen; DROP TABLE uses")
    return {name: one(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("items", "users", "events")}


def _cutoff(connection: Any, rules: PairRules) -> float | None:
    """Return the time before which the training share of the choices lies."""
    low, high, n_events = connection.execute("SELECT min(moment), max(moment), count(*) FROM events").fetchone()
    if rules.split not in ("time", "both") or not n_events:
        return None
    step = max((high - low) / _BUCKETS, 1e-3)
    found = connection.execute(
        "SELECT min(bucket) FROM (SELECT bucket, sum(count(*)) OVER (ORDER BY bucket) AS n FROM "
        f"(SELECT floor((moment - {low!r}) / {step!r}) AS bucket FROM events) GROUP BY bucket) WHERE n >= ?",
        [(1 - rules.eval_share) * n_events],
    ).fetchone()
    return float(low + (found[0] + 1) * step)


def _parts(connection: Any, rules: PairRules, cutoff: float | None) -> dict[str, Any]:
    """Add to every event the part of the data it belongs to, leaving out those of none; count both."""
    after = "FALSE" if cutoff is None else f"moment >= {cutoff!r}"
    held = {"user": "held", "time": after, "both": f"CASE WHEN held = ({after}) THEN held END", "none": "FALSE"}
    connection.execute(
        f"CREATE TABLE parted AS SELECT u, i, moment, ({held[rules.split]}) AS held FROM events; DROP TABLE events"
    )
    connection.execute("DELETE FROM parted WHERE held IS NULL")
    rows = connection.execute(
        "SELECT count(*) FILTER (NOT held), count(*) FILTER (held), count(DISTINCT u) FILTER (NOT held), "
        "count(DISTINCT u) FILTER (held), max(moment) FILTER (NOT held), min(moment) FILTER (held) FROM parted"
    ).fetchone()
    names = ("events", "eval_events", "users", "eval_users", "last_time", "first_eval_time")
    return dict(zip(names, rows, strict=True))


def _count_pairs(connection: Any, rules: PairRules) -> None:
    """Make ``counted`` (a, b, held, n_users) of choices that follow each other in a session."""
    gap = 60 * rules.gap_minutes
    new = f"COALESCE(moment - lag(moment) OVER mine > {gap!r}, FALSE)" if gap else "FALSE"
    following = ", ".join(f"lead(i, {k}) OVER session AS b{k}" for k in range(1, rules.window + 1))
    connection.execute(
        f"CREATE TABLE followed AS SELECT u, held, i, {following} FROM "
        "(SELECT *, sum(new::INTEGER) OVER mine AS number FROM "
        f"(SELECT *, {new} AS new FROM parted WINDOW mine AS (PARTITION BY u, held ORDER BY moment, i)) "
        "WINDOW mine AS (PARTITION BY u, held ORDER BY moment, i)) "
        "WINDOW session AS (PARTITION BY u, held, number ORDER BY moment, i)"
    )
    # By trigger, some at a time: what is distinct is held in a table that duckdb does not put on the disk in time.
    (n_rows,) = connection.execute("SELECT count(*) FROM followed").fetchone()
    n_parts = 1 + n_rows * rules.window // _PAIRS_AT_ONCE
    connection.execute("CREATE TABLE counted (a INTEGER, b INTEGER, held BOOLEAN, n_users INTEGER)")
    for part in range(n_parts):
        every = " UNION ALL ".join(
            f"SELECT u, held, i AS a, b{k} AS b FROM followed WHERE b{k} <> i AND i % {n_parts} = {part}"
            for k in range(1, rules.window + 1)
        )
        connection.execute(
            "INSERT INTO counted SELECT a, b, held, count(*)::INTEGER FROM "
            f"(SELECT DISTINCT * FROM ({every})) GROUP BY ALL HAVING held OR count(*) >= {rules.min_support}"
        )
    connection.execute("DROP TABLE followed; DROP TABLE parted")


def _cap(connection: Any, rules: PairRules) -> dict[str, int]:
    """Make ``pairs`` (a, b, held, n_users, known) of the pairs within the popularity cap."""
    chosen = "SELECT a, b, held, n_users FROM counted"
    if rules.max_per_song:
        weighted = (
            "SELECT p.*, p.n_users / sqrt(x.n_users::DOUBLE * y.n_users) AS weight FROM counted p "
            "JOIN items x ON x.number = a JOIN items y ON y.number = b"
        )
        cap = " AND ".join(
            f"row_number() OVER (PARTITION BY held, {side} ORDER BY weight DESC, {other}) <= {rules.max_per_song}"
            for side, other in (("a", "b"), ("b", "a"))
        )
        chosen = f"SELECT a, b, held, n_users FROM ({weighted}) QUALIFY {cap}"
    connection.execute(f"CREATE TABLE capped AS {chosen}")
    connection.execute(
        "CREATE TABLE pairs AS SELECT *, held AND (least(a, b), greatest(a, b)) IN "
        "(SELECT (least(a, b), greatest(a, b)) FROM capped WHERE NOT held) AS known FROM capped"
    )
    (n_counted,) = connection.execute("SELECT count(*) FROM counted").fetchone()
    (n_kept,) = connection.execute("SELECT count(*) FROM pairs").fetchone()
    return {"with_support": n_counted, "over_the_cap": n_counted - n_kept}


def _leakage(connection: Any, rules: PairRules) -> dict[str, Any]:
    """Return what of the evaluation pairs is known from training."""
    if rules.split == "none":
        return {}
    found = connection.execute(
        "WITH seen AS (SELECT a AS s FROM pairs WHERE NOT held UNION SELECT b FROM pairs WHERE NOT held) "
        "SELECT count(*), count(*) FILTER (known), count(*) FILTER (a NOT IN (SELECT s FROM seen) OR "
        "b NOT IN (SELECT s FROM seen)) FROM pairs WHERE held"
    ).fetchone()
    names = ("eval_pairs", "known_either_way_round", "with_an_item_new_to_training")
    return {**dict(zip(names, found, strict=True)), "known_are_kept": rules.keep_known}


def in_words(report: Mapping[str, Any]) -> str:
    """Return a report as some lines for people."""
    log, kept, split, pairs = (report[name] for name in ("log", "kept", "split", "pairs"))
    lines = [
        f"{log['rows']:,} rows, {log['unreadable']:,} unreadable, {log['chosen']:,} choices; "
        f"{kept['events']:,} of {kept['users']:,} users and {kept['items']:,} items with enough support",
        f"pairs: {report['written']['pairs']:,} for training, {report['written']['eval_pairs']:,} for evaluation; "
        f"{pairs['over_the_cap']:,} over the popularity cap",
    ]
    if leaks := report["leakage"]:
        lines.append(
            f"evaluation by {split['kind']}: {split['eval_users']:,} users; of {leaks['eval_pairs']:,} pairs "
            f"{leaks['known_either_way_round']:,} are trained on too, either way round "
            f"({'kept' if leaks['known_are_kept'] else 'left out'}), "
            f"{leaks['with_an_item_new_to_training']:,} have an item new to training"
        )
    return "\n".join(lines)
