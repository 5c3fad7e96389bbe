"""Pairs from logs: a plain-Python oracle, every kind of file, parts that share nothing, and bad input as sentences."""

from __future__ import annotations

import csv
import json
import random
import sys
from collections import Counter, defaultdict
from math import sqrt
from pathlib import Path

import pytest
from training_music import read_rows, write_rows

from clamp3.data.splits import hash_of
from clamp3.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("userId", "movieId", "timestamp", "rating")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "preprocessing"))
    import preferences

    return preferences


def made_up(n_rows=3000, n_users=60, n_items=25):
    rng = random.Random(1)
    return [
        (f"u{rng.randrange(n_users)}", f"i{min(rng.randrange(n_items), rng.randrange(n_items))}",
         1_500_000_000 + 60 * rng.randrange(60 * 24 * 3), rng.choice([1, 2.5, 4, 5]))
        for _ in range(n_rows)
    ]  # fmt: skip


def write_log(path, rows, columns=COLUMNS):
    if path.suffix == ".jsonl":
        return write_rows(path, [dict(zip(columns, row, strict=True)) for row in rows])
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([columns, *rows])
    return path


def pairs_of(folder, name="pairs"):
    return {(row["trigger"], row["song"]): row["n_users"] for row in read_rows(folder / f"{name}.jsonl")}


def expected(rows, *, gap=30, window=5, min_users=5, min_items=2, min_support=2, cap=200, held=None, cutoff=None):
    """Return training and evaluation pairs as counted by hand."""
    rows = [row for row in rows if row[3] >= 4]
    users_of = Counter(item for _, item in {row[:2] for row in rows})
    users_of = {item: n for item, n in users_of.items() if n >= min_users}
    rows = [row for row in rows if row[1] in users_of]
    items_of = Counter(user for user, _ in {row[:2] for row in rows})
    parts = defaultdict(list)
    for user, item, time, _ in rows:
        if items_of[user] >= min_items:
            sides = {side for side in (held and held(user), cutoff and time >= cutoff) if side is not None}
            if len(sides) < 2:
                parts[user, sides.pop() if sides else False].append((time, item))
    users = {False: defaultdict(set), True: defaultdict(set)}
    for (user, side), events in parts.items():
        events.sort()
        for at, (time, item) in enumerate(events):
            for (before, _), (after, other) in zip(events[at:], events[at + 1 : at + 1 + window], strict=False):
                if gap and after - before > 60 * gap:
                    break
                if other != item:
                    users[side][item, other].add(user)
            del time
    found = []
    for side in (False, True):
        counts = {pair: len(who) for pair, who in users[side].items() if side or len(who) >= min_support}
        kept = set(counts)
        for part in (0, 1):
            for item in users_of:
                mine = [pair for pair in counts if pair[part] == item]
                mine.sort(key=lambda p: (-counts[p] / sqrt(users_of[p[0]] * users_of[p[1]]), p))
                kept -= set(mine[cap:])
        found.append({pair: counts[pair] for pair in kept})
    return found


RULES = [
    ({}, {}),
    ({"gap_minutes": 0, "window": 2}, {"gap": 0, "window": 2}),
    ({"max_per_song": 3}, {"cap": 3}),
    ({"min_users": 18, "min_items": 15, "min_support": 1}, {"min_users": 18, "min_items": 15, "min_support": 1}),
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("split", ["user", "time", "both", "none"])
def test_pairs_are_those_counted_by_hand(tmp_path, script, monkeypatch, split, rules):
    pytest.importorskip("duckdb")
    given, by_hand = rules
    if not given:  # some triggers at a time, as in large logs
        monkeypatch.setattr("clamp3.data.preferences._PAIRS_AT_ONCE", 900)
    rows = made_up()
    log = write_log(tmp_path / "log.csv", rows)
    flags = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    common = [str(log), "--output_path", str(tmp_path), "--min_value", "4", "--form", "jsonl", "--keep_known"]
    assert script.main([*common, "--split", split, "--eval_share", "0.3", *flags]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    held = (lambda user: hash_of(user) < 0.3 * 2**64) if split in ("user", "both") else None
    cutoff = report["split"]["time"]
    train, evaluation = expected(rows, held=held, cutoff=cutoff, **by_hand)
    assert pairs_of(tmp_path) == train and len(train) > 10
    assert pairs_of(tmp_path, "eval_pairs") == evaluation and bool(evaluation) == (split != "none")
    known = {pair for pair in evaluation if pair in train or pair[::-1] in train}
    if split != "none":
        assert report["leakage"]["known_either_way_round"] == len(known)
        assert script.main([*common[:-1], "--split", split, "--eval_share", "0.3", *flags]) == 0
        assert pairs_of(tmp_path, "eval_pairs").keys() == evaluation.keys() - known


def test_the_parts_share_no_user_and_no_time(tmp_path, script):
    pytest.importorskip("duckdb")
    log = write_log(tmp_path / "log.csv", made_up())
    for split in ("user", "time", "both"):
        assert script.main([str(log), "--output_path", str(tmp_path), "--split", split]) == 0
        found = json.loads((tmp_path / "report.json").read_text())["split"]
        assert found["events"] > found["eval_events"] > 0
        if split != "user":
            assert found["last_time"] < found["time"] <= found["first_eval_time"]
            assert 0.05 < found["eval_events"] / (found["events"] + found["eval_events"]) < 0.15 or split == "both"
        if split == "user":
            assert found["users"] + found["eval_users"] == 60


def test_every_kind_of_file_every_kind_of_time_and_names_of_columns(tmp_path, script):
    duckdb = pytest.importorskip("duckdb")
    rows = made_up()
    first = write_log(tmp_path / "log.csv", rows)
    iso = [(u, i, f"2024-01-{1 + t // 86400 % 28:02d} {t // 3600 % 24:02d}:{t // 60 % 60:02d}:00", e)
           for u, i, t, e in rows]  # fmt: skip
    milliseconds = [(u, i, t * 1000, e) for u, i, t, e in rows]
    duckdb.sql(f"COPY (FROM '{first}') TO '{tmp_path}/log.parquet' (FORMAT parquet)")
    names = ("who", "what", "when", "said")
    flags = [part for name, own in zip(("user", "item", "time", "event"), names, strict=True)
             for part in (f"--{name}_column", own)]  # fmt: skip
    found = []
    for log, more in (
        (first, []),
        (tmp_path / "log.parquet", []),
        (write_log(tmp_path / "log.jsonl", milliseconds), []),
        (write_log(tmp_path / "log.tsv", iso), []),
        (write_log(tmp_path / 'other "names".csv', rows, names), flags),
        (write_log(tmp_path / "it's.csv", list(reversed(rows))), []),
    ):
        out = tmp_path / "out"
        assert script.main([str(log), "--output_path", str(out), "--min_value", "4", "--form", "jsonl", *more]) == 0
        found.append(pairs_of(out))
    assert all(pairs == found[0] for pairs in found)
    half = len(rows) // 2
    parts = [str(write_log(tmp_path / f"part{n}.csv", part)) for n, part in enumerate((rows[:half], rows[half:]))]
    assert script.main([*parts, "--output_path", str(out), "--min_value", "4", "--form", "jsonl"]) == 0
    assert pairs_of(out) == found[0]


def test_words_say_what_counts_and_unreadable_rows_are_counted(tmp_path, script, capsys):
    pytest.importorskip("duckdb")
    rows = [(f"u{u}", f"i{i}", 1000 + i, "like" if i < 3 else "skip") for u in range(6) for i in range(5)]
    rows += [("", "i1", 5, "like"), ("u1", "i1", "yesterday", "like"), ("u1", "", 5, "like")]
    log = write_log(tmp_path / "log.csv", rows, ("user", "item", "time", "event"))
    assert script.main([str(log), "--output_path", str(tmp_path), "--form", "jsonl", "--positive", "like",
                        "--split", "none", "--json"]) == 0  # fmt: skip
    assert pairs_of(tmp_path) == {("i0", "i1"): 6, ("i0", "i2"): 6, ("i1", "i2"): 6}
    assert json.loads(capsys.readouterr().out)["log"] == {"rows": 33, "unreadable": 3, "chosen": 18}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_bad_input_is_one_sentence(tmp_path, script):
    pytest.importorskip("duckdb")
    out = ["--output_path", str(tmp_path / "out")]
    good = str(write_log(tmp_path / "log.csv", made_up(200)))
    (tmp_path / "no.parquet").write_bytes(b"PAR1 or not")
    (tmp_path / "half.jsonl").write_text('{"user": 1, "item"')
    for flags, error, said in (
        ([str(tmp_path / "absent.csv")], ConfigError, "no such file"),
        ([good, "--user_column", "who"], ConfigError, "--user_column who: the log has userId"),
        ([good, "--min_value", "4", "--positive", "like"], ConfigError, "not by both"),
        ([good, "--split", "item"], ConfigError, "--split"),
        ([good, "--window", "0"], ConfigError, "--window"),
        ([good, "--positive", "love"], DataError, "No row of the log counts: 200 rows"),
        ([good, "--min_users", "1000"], DataError, "makes no pair"),
        ([str(tmp_path / "no.parquet")], DataError, "cannot be read"),
        ([str(tmp_path / "half.jsonl")], DataError, "cannot be read"),
        ([good, str(tmp_path / "half.jsonl")], ConfigError, "of one kind"),
        ([str(write_log(tmp_path / "t.csv", [(1, 2)], ("user", "item")))], ConfigError, "called time"),
        ([str(write_log(tmp_path / "c.csv", [(1, 2)], ("a", "b")))], ConfigError, "--user_column. It has a, b"),
    ):
        with pytest.raises(error, match=said) as raised:
            script.main([*flags, *out])
        assert "\n" not in str(raised.value)
    assert not list((tmp_path / "out").iterdir())


def test_without_duckdb_it_says_what_to_install(tmp_path, script, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    log = write_log(tmp_path / "log.csv", made_up(20))
    with pytest.raises(ConfigError, match=r"clamp3\[preferences\]"):
        script.main([str(log), "--output_path", str(tmp_path)])


def test_pairs_name_songs_of_training(tmp_path, script):
    """What is written is what train_htcl.py reads."""
    pytest.importorskip("duckdb")
    from clamp3.data.songs import Songs, read_pairs

    log = write_log(tmp_path / "log.csv", made_up())
    assert script.main([str(log), "--output_path", str(tmp_path)]) == 0
    songs = Songs([f"i{n}" for n in range(25)])
    pairs, problems = read_pairs(tmp_path / "pairs.parquet", songs)
    assert problems == [] and len(pairs) > 100
