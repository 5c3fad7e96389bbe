"""Summaries against a server that misbehaves in every way an endpoint does."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_llm import ENGLISH, TEXTS, FakeLLM, Reply, language_of, summary

from clamp3.cli import run
from clamp3.metadata.languages import LANGUAGES, language_code

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "preprocessing/text/summarize.py"
KEY = "sk-test-0123456789-secret"
QUICK = ("--model", "tiny", "--concurrency", "16", "--backoff_sec", "0.02", "--json")

# The keys that CLaMP 2 documents for a piece of its training data.
CLAMP2_RECORD = {
    "title": "Hard Times Come Again No More",
    "composer": "Stephen Foster",
    "genres": ["Parlour song", "American folk"],
    "description": "Published in New York in 1854;\nsung by many since.",
    "lyrics": "Let us pause in life's pleasures and count its many tears",
    "tags": ["ballad", "nostalgia", "\u2028"],
    "ensembles": ["voice and piano"],
    "instruments": ["Voice", "Piano"],
    "filepaths": ["abc/a/Hard Times.abc", "../mtf/Hard Times.mtf"],
}


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)


def number_of(messages):
    return int(re.search(r"Song (\d+)", messages[1]["content"])[1])


def write_songs(path, n):
    songs = [
        {"id": f"s{i}", "title": f"Song {i}", "composer": "Foster", "filepaths": [f"abc/{i}.abc"]} for i in range(n)
    ]
    path.write_text("".join(json.dumps(song) + "\n" for song in songs), encoding="utf-8")
    return songs


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ask(script, capsys, *argv):
    """Run the script in this process; return exit code, summary and what it wrote on stderr."""
    code = run(lambda: script(SCRIPT).main([str(part) for part in argv]))
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out.startswith("{") else captured.out, captured.err


def troubled(messages, count):
    """Trouble for about two items in five; for most of them only at first."""
    number, first = number_of(messages), count == 1
    right = Reply(summary(messages))
    match number % 25:
        case 1:
            return Reply(status=500) if first else right
        case 2:
            return Reply(status=429, headers={"Retry-After": "0.05"}) if first else right
        case 3 if number % 100 == 3:
            return Reply(summary(messages), wait_sec=30.0) if first else right
        case 4:
            return Reply(summary(messages, summary_nen=ENGLISH)) if first else right
        case 5:
            return Reply('{"enough": true, "reason": ') if first else right
        case 6:
            return Reply("") if first else right
        case 7:
            return Reply(status=400)
        case 8:
            return Reply(summary(messages, enough=False, reason="only a name", summary_en="", summary_nen=""))
        case 9:
            return Reply(body="<html>gateway</html>") if first else right
        case 10:
            return Reply(summary(messages, summary_nen=ENGLISH))
        case 11:
            return Reply(summary(messages), finish="length") if first else right
        case 12:
            return Reply(f"```json\n{summary(messages)}\n```")
    return right


def test_500_items_through_every_trouble_are_each_there_once(script, tmp_path, capsys):
    songs = write_songs(tmp_path / "songs.jsonl", 500)
    out = tmp_path / "out" / "summaries.jsonl"
    with FakeLLM(troubled).running() as server:
        code, report, _ = ask(
            script, capsys, tmp_path / "songs.jsonl", out, *QUICK, "--base_url", server.url, "--timeout_sec", "10",
            "--price_in", "2", "--price_out", "8",
        )  # fmt: skip
        assert code == 1
        assert (report["items"], report["written"], report["done_before"]) == (500, 440, 0)
        assert {name for name, _ in report["failed"]} == {f"s{i}" for i in range(500) if i % 25 in (7, 10)}
        assert {name for name, _ in report["refused"]} == {f"s{i}" for i in range(500) if i % 25 == 8}
        reasons = dict(report["failed"])
        assert reasons["s7"] == "400 trouble"
        assert re.fullmatch(
            r"summary_nen: asked for .*, reads as English \(0.\d+\) \(the last of 3 answers\)", reasons["s10"]
        )
        assert dict(report["refused"])["s8"] == "not enough about the music: only a name"
        # On a busy machine some answers may come after the client gave up; see below for exact counts.
        usage = report["usage"]
        assert 550 < usage["requests"] <= server.answered <= usage["requests"] + 10
        assert report["cost"] == pytest.approx((2 * usage["prompt_tokens"] + 8 * usage["completion_tokens"]) / 1e6)
        assert 8 < server.busiest <= 16

        made = rows(out)
        assert [row["id"] for row in made] == [f"s{i}" for i in range(500) if i % 25 not in (7, 8, 10)]
        for row in made:
            assert {key: row[key] for key in songs[0]} == songs[int(row["id"][1:])]
            assert row["summary_en"] == ENGLISH
            assert row["summary_nen"]["summary"] == TEXTS[language_code(row["summary_nen"]["language"])]
        assert len({row["summary_nen"]["language"] for row in made}) > 90
        origin = rows(tmp_path / "out" / "summaries.provenance.jsonl")
        assert [row["input"] for row in origin] == [row["id"] for row in made]
        assert origin[0]["model"] == "tiny" and origin[0]["prompts"][0].startswith("summarize-1@")
        tried = rows(tmp_path / "out" / "summaries.ledger.jsonl")
        assert len(tried) == 500 and sum(row["status"] == "ok" for row in tried) == 440

        # Again: only the failed are asked for; refusals stand.
        before, asked = out.read_bytes(), len(server.requests)
        code, report, _ = ask(
            script, capsys, tmp_path / "songs.jsonl", out, *QUICK, "--base_url", server.url, "--timeout_sec", "10"
        )
        assert (code, report["written"], report["done_before"], len(report["failed"])) == (1, 0, 460, 40)
        assert len(server.requests) - asked == 20 * 1 + 20 * 3
        assert out.read_bytes() == before
    stored = b"".join(path.read_bytes() for path in out.parent.iterdir() if path.is_file())
    assert KEY.encode() not in stored
    assert all(request["authorization"] == f"Bearer {KEY}" for request in server.requests)


def test_killed_and_resumed_nothing_is_lost_or_doubled(tmp_path):
    write_songs(tmp_path / "songs.jsonl", 500)
    out = tmp_path / "summaries.jsonl"
    with FakeLLM(lambda messages, count: Reply(summary(messages), wait_sec=0.02)).running() as server:
        command = [sys.executable, str(ROOT / SCRIPT), str(tmp_path / "songs.jsonl"), str(out), *QUICK]
        command += ["--base_url", server.url]
        for wanted in (60, 200):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                deadline = time.monotonic() + 300
                while not out.exists() or out.read_bytes().count(b"\n") < wanted:
                    assert process.poll() is None and time.monotonic() < deadline
                    time.sleep(0.01)
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
        held = [row["id"] for row in rows(out)] if out.read_bytes().endswith(b"\n") else None
        with open(out, "ab") as stream:  # what a kill in the middle of a write leaves
            stream.write(b'{"id": "s499", "title": "Son')
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)
    ids = [row["id"] for row in rows(out)]
    assert ids == [f"s{i}" for i in range(500)]
    assert report["written"] + report["done_before"] == 500 and report["done_before"] >= 200
    assert held is None or report["done_before"] == len(set(held))
    # At most what was under way at each kill is asked twice.
    assert len(server.requests) <= 500 + 2 * 16
    assert [row["input"] for row in rows(tmp_path / "summaries.provenance.jsonl")] == ids


def test_the_documented_record_goes_through_unchanged(script, tmp_path, capsys):
    folder = tmp_path / "metadata"
    folder.mkdir()
    (folder / "song.json").write_text(json.dumps(CLAMP2_RECORD, indent=2), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    with FakeLLM(lambda messages, count: Reply(summary(messages))).running() as server:
        code, report, _ = ask(script, capsys, folder, out, *QUICK, "--base_url", server.url, "--languages", "Swahili")
    assert (code, report["written"]) == (0, 1)
    (made,) = rows(out)
    assert list(made) == [*CLAMP2_RECORD, "summary_en", "summary_nen"]
    assert {key: made[key] for key in CLAMP2_RECORD} == CLAMP2_RECORD
    assert made["summary_nen"] == {"language": "Swahili", "summary": TEXTS["sw"]}
    sent = server.requests[0]["body"]
    assert sent["model"] == "tiny" and sent["response_format"]["json_schema"]["strict"] is True
    asked = sent["messages"][1]["content"]
    assert "Swahili (ISO 639: sw)" in asked and "Stephen Foster" in asked and ".abc" not in asked


def test_wrong_answers_are_told_to_the_model(script, tmp_path, capsys):
    write_songs(tmp_path / "songs.jsonl", 1)

    def decide(messages, count):
        return Reply(summary(messages, summary_en=TEXTS["de"])) if count == 1 else Reply(summary(messages))

    with FakeLLM(decide).running() as server:
        code, report, _ = ask(
            script, capsys, tmp_path / "songs.jsonl", tmp_path / "o.jsonl", *QUICK, "--base_url", server.url
        )
    assert code == 0
    # Tokens of rejected answers are paid for too.
    assert report["usage"] == {
        "requests": 2, "prompt_tokens": server.prompt_tokens, "completion_tokens": server.completion_tokens
    }  # fmt: skip
    assert server.prompt_tokens > 0 and server.completion_tokens > 0
    first, second = (request["body"]["messages"] for request in server.requests)
    assert second[:2] == first and [message["role"] for message in second[2:]] == ["assistant", "user"]
    assert "summary_en: asked for English, reads as German" in second[3]["content"]


def test_retry_after_holds_back_all_requests(script, tmp_path, capsys):
    """Those on their way when the 429 arrives come through; then there is a gap, and most come after it."""
    write_songs(tmp_path / "songs.jsonl", 60)
    paused = []

    def decide(messages, count):
        if number_of(messages) == 5 and count == 1:
            paused.append(time.monotonic())
            return Reply(status=429, headers={"Retry-After": "2"})
        # The other answers come late enough for a busy computer, too, to read the 429 before them.
        late = paused and time.monotonic() < paused[0] + 1
        return Reply(summary(messages), wait_sec=1 if late else 0.01)

    with FakeLLM(decide).running() as server:
        code, report, _ = ask(
            script, capsys, tmp_path / "songs.jsonl", tmp_path / "o.jsonl", *QUICK, "--base_url", server.url
        )
    assert (code, report["written"]) == (0, 60)
    times = sorted(server.times)
    gap, first = max((after - before, after) for before, after in itertools.pairwise(times))
    assert gap > 0.5 and first >= paused[0] + 1.95
    # Before: those asked until then (5 and what else is asked at a time), and those on their way.
    assert sum(when >= first for when in times) >= 60 - 6 - 2 * 16


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": f"Incorrect key: {KEY}"}}, "check the key"),
        (404, {"error": {"message": "no such model"}}, "check --base_url and --model"),
        (429, {"error": {"message": "pay first", "code": "insufficient_quota"}}, "no credit left"),
    ],
)
def test_what_no_repetition_helps_ends_the_job_at_once(script, tmp_path, capsys, status, body, said):
    write_songs(tmp_path / "songs.jsonl", 40)
    with FakeLLM(lambda messages, count: Reply(status=status, body=json.dumps(body))).running() as server:
        code, _, error = ask(
            script, capsys, tmp_path / "songs.jsonl", tmp_path / "o.jsonl", *QUICK, "--base_url", server.url
        )
    assert code in (1, 2) and said in error and error.count("\n") == 1 + error.count("asking")
    assert len(server.requests) <= 16
    assert (
        KEY not in error and KEY not in (tmp_path / "o.ledger.jsonl").read_text()
        if (tmp_path / "o.ledger.jsonl").exists()
        else True
    )


def test_an_endpoint_that_is_down_stops_the_job_after_some_items(script, tmp_path, capsys):
    write_songs(tmp_path / "songs.jsonl", 100)
    code, _, error = ask(
        script, capsys, tmp_path / "songs.jsonl", tmp_path / "o.jsonl", *QUICK, "--base_url", "http://127.0.0.1:9/v1",
        "--n_retries", "0",
    )  # fmt: skip
    assert code == 1 and "the last 32 requests failed; stopped" in error and "cannot be reached" in error


def test_a_key_that_the_endpoint_repeats_is_not_kept(script, tmp_path, capsys):
    write_songs(tmp_path / "songs.jsonl", 3)

    def decide(messages, count):
        if number_of(messages) == 0:
            return Reply(status=400, body=json.dumps({"error": {"message": f"bad header {KEY}"}}))
        if number_of(messages) == 1:
            return Reply(body=f"not json {KEY}")
        return Reply(summary(messages, summary_en=f"{ENGLISH} {KEY}"))

    with FakeLLM(decide).running() as server:
        code, report, error = ask(
            script, capsys, tmp_path / "songs.jsonl", tmp_path / "o.jsonl", *QUICK, "--base_url", server.url,
            "--n_retries", "1",
        )  # fmt: skip
    assert code == 1 and report["written"] == 1
    assert rows(tmp_path / "o.jsonl")[0]["summary_en"] == f"{ENGLISH} [key]"
    assert KEY not in json.dumps(report) + error + "".join(path.read_text() for path in tmp_path.glob("o.*"))


def test_without_key_model_or_items_nothing_starts(script, tmp_path, capsys, monkeypatch):
    write_songs(tmp_path / "songs.jsonl", 1)
    arguments = (tmp_path / "songs.jsonl", tmp_path / "o.jsonl")
    assert "which model?" in ask(script, capsys, *arguments)[2]
    monkeypatch.delenv("OPENAI_API_KEY")
    code, _, error = ask(script, capsys, *arguments, "--model", "m")
    assert code == 2 and "environment variable OPENAI_API_KEY" in error
    assert [path.name for path in tmp_path.iterdir()] == ["songs.jsonl"]
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nsk-other")
    code, _, error = ask(script, capsys, *arguments, "--model", "m")
    assert code == 2 and "more than one key" in error and KEY not in error
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "none").mkdir()
    assert "holds no JSON object" in ask(script, capsys, tmp_path / "none", tmp_path / "o.jsonl", "--model", "m")[2]
    (tmp_path / "mine.jsonl").write_text('{"a": 1}\n')
    code, _, error = ask(script, capsys, arguments[0], tmp_path / "mine.jsonl", "--model", "m")
    assert code == 2 and "not of this job's making" in error
    assert (tmp_path / "mine.jsonl").read_text() == '{"a": 1}\n'


def test_dry_run_prints_prompts_and_touches_nothing(script, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(CLAMP2_RECORD))
    (folder / "b.json").write_text('{"title": "Untold"}')
    (folder / "c.json").write_text("[1]")
    code, out, _ = ask(script, capsys, folder, tmp_path / "o.jsonl", "--dry_run")
    assert code == 1
    assert out.count("--- system") == 1 and "Stephen Foster" in out
    assert "--- b.json: no request: no metadata about the music besides a title" in out
    assert "--- c.json: no request: a JSON list; an object is wanted" in out
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_changed_items_replace_their_line_and_others_stay(script, tmp_path, capsys):
    songs = write_songs(tmp_path / "songs.jsonl", 6)
    out = tmp_path / "o.jsonl"
    down = []

    def decide(messages, count):
        return Reply(status=400) if number_of(messages) in down else Reply(summary(messages))

    with FakeLLM(decide).running() as server:
        flags = (*QUICK, "--base_url", server.url)
        ask(script, capsys, tmp_path / "songs.jsonl", out, *flags)
        songs[2]["composer"], songs[3]["composer"] = "Abt", "Loewe"
        lines = [json.dumps(song) + "\n" for song in reversed(songs[1:])]
        (tmp_path / "songs.jsonl").write_text("".join(lines))
        down.append(3)
        code, report, _ = ask(script, capsys, tmp_path / "songs.jsonl", out, *flags)
        assert (code, report["written"], report["done_before"], len(report["failed"])) == (1, 1, 3, 1)
        # s0 is not in this input and stays; s3's line is of a content that is no more.
        assert [(row["id"], row["composer"]) for row in rows(out)] == [
            *[("s0", "Foster"), ("s5", "Foster"), ("s4", "Foster"), ("s2", "Abt"), ("s1", "Foster")]
        ]
        # Another model asks for all again; where it fails for the same content, the old line stays.
        down[:] = [1]
        _, report, _ = ask(script, capsys, tmp_path / "songs.jsonl", out, *flags[2:], "--model", "other")
        assert (report["written"], len(report["failed"])) == (4, 1)
        assert [row["id"] for row in rows(out)] == ["s0", "s5", "s4", "s3", "s2", "s1"]
        origin = {row["input"]: row["model"] for row in rows(tmp_path / "o.provenance.jsonl")}
        assert origin == {"s0": "tiny", "s1": "tiny"} | {f"s{i}": "other" for i in (2, 3, 4, 5)}


def test_two_input_folders_do_not_replace_each_other_s_lines(script, tmp_path, capsys):
    for folder, numbers in {"one": {"a": 1, "b": 2}, "two": {"a": 3, "b": 2, "c": 4}}.items():
        (tmp_path / folder).mkdir()
        for name, number in numbers.items():
            song = {"title": f"Song {number}", "composer": "Foster", "filepaths": [f"{name}.abc"]}
            (tmp_path / folder / f"{name}.json").write_text(json.dumps(song))
    out = tmp_path / "o.jsonl"
    with FakeLLM(lambda messages, count: Reply(summary(messages))).running() as server:
        flags = (*QUICK, "--base_url", server.url)
        assert ask(script, capsys, tmp_path / "one", out, *flags)[0] == 0
        for written, done in ((1, 1), (0, 2)):  # b is the same in both
            code, report, _ = ask(script, capsys, tmp_path / "two", out, *flags)
            assert (code, report["written"], report["done_before"]) == (1, written, done)
            reason = f"its line was made from {tmp_path / 'one' / 'a.json'}; give another output file."
            assert report["failed"] == [["a.json", reason]]
            assert [row["title"] for row in rows(out)] == ["Song 1", "Song 2", "Song 4"]
        assert ask(script, capsys, tmp_path / "one", out, *flags)[1]["done_before"] == 2
        # An edited item of the same folder is made anew, wherever the command is run.
        song = {"title": "Song 5", "composer": "Foster", "filepaths": ["a.abc"]}
        (tmp_path / "one" / "a.json").write_text(json.dumps(song))
        code, report, _ = ask(script, capsys, tmp_path / "two" / ".." / "one", out, *flags)
        assert (code, report["written"], report["done_before"]) == (0, 1, 1)


def test_one_output_has_one_writer(tmp_path):
    from clamp3.errors import ConfigError
    from clamp3.metadata.store import Store

    with Store(tmp_path / "o.jsonl", []), pytest.raises(ConfigError, match="another process"):
        Store(tmp_path / "o.jsonl", [])
    Store(tmp_path / "o.jsonl", []).close()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"a": 1}\n{"b": ', b'{"a": 1}\n'),
        (b'{"a": 1}\n{"b": 2}', b'{"a": 1}\n{"b": 2}\n'),
        (b'{"b": ', b""),
        (b'{"a": 1}\n', b'{"a": 1}\n'),
        (b"", b""),
    ],
)
def test_a_torn_end_is_cut_and_a_whole_one_closed(tmp_path, before, after):
    from clamp3.metadata.store import repair

    (tmp_path / "o.jsonl").write_bytes(before)
    repair(tmp_path / "o.jsonl")
    assert (tmp_path / "o.jsonl").read_bytes() == after


def test_equal_items_get_a_line_each(script, tmp_path, capsys):
    line = json.dumps({"title": "Song 1", "composer": "Foster"}) + "\n"
    (tmp_path / "songs.jsonl").write_text(3 * line)
    with FakeLLM(lambda messages, count: Reply(summary(messages))).running() as server:
        for written in (3, 0):
            _, report, _ = ask(
                script, capsys, tmp_path / "songs.jsonl", tmp_path / "o.jsonl", *QUICK, "--base_url", server.url
            )
            assert (report["written"], len(rows(tmp_path / "o.jsonl"))) == (written, 3)


def test_servers_without_schemas_get_it_in_the_prompt(script, tmp_path, capsys):
    write_songs(tmp_path / "songs.jsonl", 1)
    with FakeLLM(lambda messages, count: Reply(summary(messages))).running() as server:
        ask(
            script, capsys, tmp_path / "songs.jsonl", tmp_path / "o.jsonl", *QUICK, "--base_url", server.url,
            "--structured", "json_object", "--extra", '{"temperature": 0.5}',
        )  # fmt: skip
    body = server.requests[0]["body"]
    assert body["response_format"] == {"type": "json_object"} and body["temperature"] == 0.5
    assert "summary_nen" in body["messages"][0]["content"].split("follows this schema:")[1]


def test_languages_are_drawn_per_item_and_stay(script, tmp_path, capsys):
    write_songs(tmp_path / "songs.jsonl", 30)
    with FakeLLM(lambda messages, count: Reply(summary(messages))).running() as server:
        for name in ("a", "b"):
            ask(script, capsys, tmp_path / "songs.jsonl", tmp_path / f"{name}.jsonl", *QUICK, "--base_url", server.url)
        drawn = [language_of(request["body"]["messages"]) for request in server.requests]
    assert len(set(drawn)) > 15 and set(drawn) <= set(LANGUAGES)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_help_needs_neither_openai_nor_pydantic(tmp_path):
    code = (
        "import runpy, sys\nsys.argv = ['x', '--help']\n"
        f"try:\n    runpy.run_path({str(ROOT / SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'openai', 'pydantic', 'torch', 'py3langid'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "code")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "--dry_run" in done.stdout
