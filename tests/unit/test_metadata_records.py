"""M4-RAG records: every step can refuse, and what comes out is what the trainers read."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from fake_llm import ENGLISH, TEXTS, FakeLLM, Reply, language_of

from clamp3.cli import run
from clamp3.data.records import record_problems
from clamp3.errors import ConfigError, DataError
from clamp3.metadata.job import RefusedError
from clamp3.metadata.languages import M4_RAG, language_code
from clamp3.metadata.records import query_of
from clamp3.metadata.sources import N_RESULTS, SavedResults, SearchCommand, SearchURL, results_of

SCRIPT = "preprocessing/text/generate_records.py"
QUICK = ("--model", "tiny", "--backoff_sec", "0.02", "--json")
LONG = ("background", "analysis", "description", "scene")
FOUND = {"title": "Hard Times", "url": "https://example.org/1", "text": "A parlour song of 1854. " * 12}
SONG = {
    "id": "s1",
    "title": "Hard Times",
    "composer": "Foster",
    "lyrics": "Let us pause",
    "filepaths": ["abc/1.abc", "mtf/1.mtf"],
}


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def step_of(messages):
    system = messages[0]["content"]
    return "draft" if "usable" in system else "verdict" if "about_music" in system else "translation"


def right(messages, **changed):
    """Return a right answer to any of the three requests."""
    step = step_of(messages)
    texts = dict.fromkeys(LONG, ENGLISH)
    if step == "draft":
        value = {
            **{"usable": True, "reason": "", "title": "Hard Times Come Again No More", "artists": ["Stephen Foster"]},
            **{"region": "US", "language": "en", "genres": ["Parlour song"], "tags": ["ballad", "slow", "ballad"]},
            **texts,
        }
    elif step == "verdict":
        value = {"about_music": True, "supported": True, "unsupported": [], "reason": ""}
    else:
        value = dict.fromkeys(LONG, TEXTS[language_of(messages)])
    return json.dumps(value | changed.get(step, {}), ensure_ascii=False)


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def generate(script, capsys, tmp_path, decide, songs, *flags, results=(FOUND,)):
    """Run the script on songs that all have the same saved results."""
    (tmp_path / "songs.jsonl").write_text("".join(json.dumps(song) + "\n" for song in songs))
    saved = [{"id": song["id"], "results": list(results)} for song in songs]
    (tmp_path / "found.jsonl").write_text("".join(json.dumps(row) + "\n" for row in saved))
    where = () if "--search_command" in flags else ("--results", tmp_path / "found.jsonl")
    with FakeLLM(decide).running() as server:
        argv = [tmp_path / "songs.jsonl", tmp_path / "out.jsonl", *QUICK, "--base_url", server.url, *where, *flags]
        code = run(lambda: script(SCRIPT).main([str(part) for part in argv]))
    out = capsys.readouterr().out
    return code, json.loads(out) if out.startswith("{") else out, server


def test_a_record_has_the_fields_the_trainers_read(script, tmp_path, capsys):
    code, report, server = generate(
        script, capsys, tmp_path, lambda messages, count: Reply(right(messages)), [SONG], "--languages", "sw"
    )
    assert (code, report["written"], report["usage"]["requests"]) == (0, 1, 3)
    (made,) = rows(tmp_path / "out.jsonl")
    assert made == {
        "id": "s1",
        "title": "Hard Times Come Again No More",
        "artists": ["Stephen Foster"],
        "region": "United States",
        "language": "English",
        "genres": ["Parlour song"],
        "tags": ["ballad", "slow"],
        **dict.fromkeys(LONG, ENGLISH),
        "translations": {"language": "Swahili", **dict.fromkeys(LONG, TEXTS["sw"])},
        "filepaths": ["abc/1.abc", "mtf/1.mtf"],
    }
    assert record_problems(made) == []
    (origin,) = rows(tmp_path / "out.provenance.jsonl")
    assert origin["sources"] == [{"title": "Hard Times", "url": "https://example.org/1"}]
    assert [version.partition("@")[0] for version in origin["prompts"]] == ["record-2", "quality-1", "translate-1"]
    assert (origin["query"], origin["requests"]) == ("Hard Times Foster", 3)
    assert origin["prompt_tokens"] == server.prompt_tokens and origin["completion_tokens"] == server.completion_tokens
    first = server.requests[0]["body"]["messages"][1]["content"]
    assert "[1] Hard Times\nhttps://example.org/1\nA parlour song" in first and "Let us pause" in first
    assert ".abc" not in first


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"draft": {"usable": False, "reason": "three songs of this name"}}, "do not carry a record: three songs"),
        ({"verdict": {"about_music": False, "reason": "a film"}}, "not about a piece of music: a film"),
        ({"verdict": {"supported": False, "unsupported": ["year 1901"]}}, "do not support it: year 1901"),
    ],
)
def test_the_model_can_refuse_at_every_step(script, tmp_path, capsys, changed, reason):
    decide = lambda messages, count: Reply(right(messages, **changed))  # noqa: E731
    code, report, _ = generate(script, capsys, tmp_path, decide, [SONG])
    assert code == 0 and report["written"] == 0 and reason in report["refused"][0][1]
    assert rows(tmp_path / "out.ledger.jsonl")[0]["status"] == "skipped"
    assert generate(script, capsys, tmp_path, decide, [SONG])[1]["done_before"] == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"draft": {"region": "Bohemia"}}, "region: 'Bohemia' is no code of ISO 3166"),
        ({"draft": {"region": "XX"}}, "region: 'XX' is no code"),
        ({"draft": {"language": "qq"}}, "language: 'qq' is no code of ISO 639"),
        ({"draft": {"language": "de"}}, "background: asked for German, reads as English"),
        ({"draft": {"tags": ["", " "]}}, "tags must not be empty"),
        ({"draft": {"scene": "A room."}}, "scene: only 7 bytes"),
        ({"draft": {"analysis": "word " * 1300}}, "analysis: 6499 bytes; at most 6000"),
        ({"draft": {"mood": "sad"}}, "mood: Extra inputs are not permitted"),
        ({"translation": {"scene": ENGLISH}}, "scene: asked for Swahili, reads as English"),
    ],
)
def test_answers_that_break_a_rule_are_asked_again_and_then_fail(script, tmp_path, capsys, changed, reason):
    decide = lambda messages, count: Reply(right(messages, **changed))  # noqa: E731
    code, report, _ = generate(script, capsys, tmp_path, decide, [SONG], "--languages", "sw", "--n_answers", "2")
    assert code == 1 and report["failed"][0][1].startswith(reason)
    assert report["failed"][0][1].endswith("(the last of 2 answers)")
    assert report["usage"]["requests"] == (2 if "draft" in changed else 4)


def test_the_texts_are_translated_into_another_language_than_their_own(script, tmp_path, capsys):
    german = {"draft": {"language": "DE", **dict.fromkeys(LONG, TEXTS["de"])}}
    decide = lambda messages, count: Reply(right(messages, **german))  # noqa: E731
    songs = [{**SONG, "id": f"s{i}"} for i in range(8)]
    code, _, _ = generate(script, capsys, tmp_path, decide, songs, "--languages", "de,fr")
    assert code == 0
    assert {(row["language"], row["translations"]["language"]) for row in rows(tmp_path / "out.jsonl")} == {
        ("German", "French")
    }
    (tmp_path / "out.jsonl").unlink()
    code, report, _ = generate(script, capsys, tmp_path, decide, songs[:1], "--languages", "de")
    assert code == 0 and "translations" not in rows(tmp_path / "out.jsonl")[0] and report["usage"]["requests"] == 2


def test_the_form_is_asked_for_in_the_order_of_thought(script, tmp_path, capsys):
    """Whether a record is possible, then what it is and in which language, and the long texts at the end."""
    decide = lambda messages, count: Reply(right(messages))  # noqa: E731
    code, _, server = generate(script, capsys, tmp_path, decide, [SONG], "--languages", "sw")
    assert code == 0
    schema = server.requests[0]["body"]["response_format"]["json_schema"]["schema"]
    order = ["usable", "reason", "title", "artists", "region", "language", "genres", "tags", *LONG]
    assert list(schema["properties"]) == schema["required"] == order
    asked = server.requests[0]["body"]["messages"][0]["content"]
    positions = [asked.index(f"- {name}:") for name in order[2:]]
    assert positions == sorted(positions) and asked.index("usable") < positions[0]
    for name in ("genres", "tags"):
        line = next(line for line in asked.splitlines() if line.startswith(f"- {name}:"))
        assert line.endswith("in the language that you name.")


def test_translations_are_drawn_from_m4_rags_languages(script, tmp_path, capsys):
    songs = [{**SONG, "id": f"s{i}"} for i in range(60)]
    code, _, _ = generate(script, capsys, tmp_path, lambda messages, count: Reply(right(messages)), songs)
    drawn = {language_code(row["translations"]["language"]) for row in rows(tmp_path / "out.jsonl")}
    assert code == 0 and len(drawn) > 15 and drawn <= set(M4_RAG) - {"en"}


def test_ids_of_files_have_no_suffix(script, tmp_path, capsys):
    folder = tmp_path / "songs"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.b.json").write_text(json.dumps({**SONG, "id": None}))
    (tmp_path / "found.jsonl").write_text(json.dumps({"id": "sub/a.b", "results": [FOUND]}) + "\n")
    with FakeLLM(lambda messages, count: Reply(right(messages))).running() as server:
        argv = [folder, tmp_path / "out.jsonl", *QUICK, "--base_url", server.url, "--results", tmp_path / "found.jsonl"]
        assert run(lambda: script(SCRIPT).main([str(part) for part in argv])) == 0
    assert [row["id"] for row in rows(tmp_path / "out.jsonl")] == ["sub/a.b"]


def test_titles_and_results_that_name_no_piece_are_not_sent(script, tmp_path, capsys):
    songs = [{**SONG, "id": str(i), "title": title} for i, title in enumerate(["Untitled", "Track 3", "12", "", None])]
    code, report, server = generate(script, capsys, tmp_path, lambda *_: Reply("{}"), [*songs, SONG], results=())
    assert code == 0 and not server.requests and len(report["refused"]) == 6
    reasons = dict(report["refused"])
    assert reasons["1"] == "the title 'Track 3' names no piece" and reasons["s1"] == "no search results"
    thin = generate(script, capsys, tmp_path, lambda *_: Reply("{}"), [SONG], results=["a song"])[1]
    assert thin["refused"] == [["s1", "the search results have only 6 characters"]]


def test_new_results_make_an_item_be_done_again(script, tmp_path, capsys):
    decide = lambda messages, count: Reply(right(messages))  # noqa: E731
    for results, written in (((FOUND,), 1), ((FOUND,), 0), ((FOUND, "It is sung slowly."), 1)):
        _, report, _ = generate(script, capsys, tmp_path, decide, [SONG], results=results)
        assert report["written"] == written
    assert len(rows(tmp_path / "out.jsonl")) == 1


def test_dry_run_shows_results_or_their_place(script, tmp_path, capsys):
    code, out, server = generate(script, capsys, tmp_path, None, [SONG, {**SONG, "id": "s2", "title": ""}], "--dry_run")
    assert code == 0 and not server.requests
    assert "[1] Hard Times" in out and "s2: no request: the title '' names no piece" in out
    code, out, _ = generate(script, capsys, tmp_path, None, [SONG], "--dry_run", "--search_command", "false {query}")
    assert code == 0 and "(what the search finds)" in out
    assert not (tmp_path / "out.jsonl").exists()


def test_a_search_command_gets_the_query_as_one_argument(script, tmp_path, capsys):
    (tmp_path / "find.py").write_text(
        "import json, sys\nassert len(sys.argv) == 2 and '$(' in sys.argv[1]\n"
        f"print(json.dumps([{FOUND!r}, {{'title': sys.argv[1], 'content': 'of the query'}}]))\n"
    )
    song = {**SONG, "title": "-- Hard $(touch x) Times; ls"}
    code, _, server = generate(
        script, capsys, tmp_path, lambda messages, count: Reply(right(messages)), [song],
        "--search_command", f"{sys.executable} {tmp_path / 'find.py'} {{query}}",
    )  # fmt: skip
    assert code == 0
    assert "[2] Hard $(touch x) Times; ls Foster" in server.requests[0]["body"]["messages"][1]["content"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('no index')", "ended with code 1: no index"),
        ("print('oops')", "not JSON"),
        ("import time; time.sleep(60)", "took longer than 0.5 s"),
    ],
)
def test_trouble_of_a_search_command_is_the_items_reason(tmp_path, program, said):
    import asyncio

    search = SearchCommand(f'{sys.executable} -c "{program}" {{query}}', 0.5 if "sleep" in program else 60.0)
    with pytest.raises(DataError, match=said):
        asyncio.run(search.find(("a",), "Hard Times"))


def test_a_search_url_gets_the_query_quoted():
    import asyncio

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(parse_qs(urlsplit(self.path).query))
            self.send_response(500 if "bad" in self.path else 200)
            if "broken" in self.path:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"64\r\nthe end comes too early")
                return
            self.end_headers()
            self.wfile.write(json.dumps({"results": [{"title": "T", "url": "u", "content": "c"}]}).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        search = SearchURL(f"http://127.0.0.1:{server.server_port}/s?format=json&q={{query}}", 20.0)
        (found,) = asyncio.run(search.find((), "Hard & Times?"))
        assert (found.title, found.url, found.text) == ("T", "u", "c")
        assert asked == [{"format": ["json"], "q": ["Hard & Times?"]}]
        with pytest.raises(DataError, match="500"):
            asyncio.run(search.find((), "bad"))
        with pytest.raises(DataError, match="the search failed"):
            asyncio.run(search.find((), "broken"))
        server.shutdown()
    with pytest.raises(ConfigError, match="begin with http"):
        SearchURL("file:///etc/{query}", 1.0)
    for url in ("http://[::1/?q={query}", "http://a:b/{query}", "http://{query}/", "http:///{query}"):
        with pytest.raises(ConfigError, match="--search_url"):
            SearchURL(url, 1.0)


def test_a_search_url_is_not_sent_on_to_another_server_nor_read_without_end(monkeypatch):
    import asyncio

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if "away" in self.path:
                self.send_response(302)
                self.send_header("Location", "http://localhost:9/secret")
            else:
                self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(3000 if "long" in self.path else 30):
                    self.wfile.write(b" " * 10_000 if "long" in self.path else b" ")
                    if "slow" in self.path:
                        time.sleep(0.1)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        search = SearchURL(f"http://127.0.0.1:{server.server_port}/{{query}}", 0.5)
        for query, said in (
            ("away", "sends on to http://localhost:9"),
            ("long", "8 MiB"),
            ("slow", r"longer than 0\.5"),
        ):
            with pytest.raises(DataError, match=said):
                asyncio.run(search.find((), query))
        server.shutdown()


@pytest.mark.parametrize(
    "command",
    ["sh -c 'find {query}'", "sh -c {query}", "bash -lc {query}", "python -c {query}", "ssh host find {query}",
     "{query}", "find --url=http://x/{query}", "", "pwsh -Command {query}", "env sh -c 'a {query}'"],
)  # fmt: skip
def test_a_query_is_never_run(command):
    with pytest.raises(ConfigError, match="--search_command"):
        SearchCommand(command, 1.0)


def test_a_search_command_may_read_the_query_from_standard_input(tmp_path):
    import asyncio

    (tmp_path / "find.py").write_text("import json, sys\nprint(json.dumps([sys.stdin.read().strip()]))\n")
    (found,) = asyncio.run(SearchCommand(f"{sys.executable} {tmp_path / 'find.py'}", 60.0).find((), "$(ls); '"))
    assert found.text == "$(ls); '"
    (tmp_path / "long.py").write_text("while True: print('x' * 100000)\n")
    with pytest.raises(DataError, match="8 MiB"):
        asyncio.run(SearchCommand(f"{sys.executable} {tmp_path / 'long.py'}", 60.0).find((), "a"))


def test_saved_results_are_found_by_id_file_or_title(tmp_path):
    folder = tmp_path / "found"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.json").write_text(json.dumps({"results": ["of the file"]}))
    (folder / "Hard Times.json").write_text(json.dumps(["of the title"]))
    search = SavedResults(folder)
    assert search.of(("x", "sub/a"))[0].text == "of the file"
    assert search.of(("x", "hard  times"))[0].text == "of the title"
    assert search.of(("none",)) == []
    lines = tmp_path / "found.jsonl"
    lines.write_text('{"id": 7, "results": ["seven"]}\n\n{"query": "Air Bach", "results": ["air"]}\n')
    assert SavedResults(lines).of(("7",))[0].text == "seven"
    assert SavedResults(lines).of(("air bach",))[0].text == "air"
    lines.write_text('{"id": "mozart-1", "title": "Allegro", "results": ["mozart"]}\n')
    assert SavedResults(lines).of(("vivaldi-9", "Allegro")) == []
    lines.write_text('{"results": []}\n')
    with pytest.raises(ConfigError, match=r"line 1 names no id, title or query"):
        SavedResults(lines)


def test_results_are_cut_and_counted_once():
    assert results_of({"results": [{"snippet": " a \n\n b "}, "a\nb", {"title": "no text"}, 7]})[0].text == "a\nb"
    assert len(results_of({"results": [{"snippet": " a \n\n b "}, "a\nb", {"title": "no text"}, 7]})) == 1
    assert len(results_of([str(i) for i in range(30)])) == N_RESULTS
    assert len(results_of(["x" * 9999])[0].text) == 3000
    assert results_of("nonsense") == []


def test_queries():
    assert query_of({"title": "Air", "artists": ["A", "B", "C", "D"]}) == "Air A B C"
    assert query_of({"title": " Air\nand more", "composer": "Bach"}) == "Air Bach"
    with pytest.raises(RefusedError, match="names no piece"):
        query_of({"title": "Op. 1".replace("Op", "")})
