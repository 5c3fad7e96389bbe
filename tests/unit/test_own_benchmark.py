"""A benchmark of one's own, from scores to retrieval; and rewritten captions."""

from __future__ import annotations

import csv
import json
import re
import threading
import time

import pytest
from fake_llm import ENGLISH, TEXTS, FakeLLM, Reply, language_of

from clamp3.cli import run
from clamp3.data.records import LONG_TEXTS
from clamp3.datasets import musiccaps
from clamp3.datasets.classification import open_benchmark as open_probe
from clamp3.datasets.retrieval import open_benchmark
from clamp3.datasets.wikimtx import LANGUAGES
from clamp3.errors import DataError, FormatError
from clamp3.metadata.leadsheets import collect
from clamp3.metadata.review import as_page

MAKE, REWRITE = "preprocessing/text/make_benchmark.py", "preprocessing/text/rewrite_captions.py"
QUICK = ("--model", "tiny", "--backoff_sec", "0.02", "--json")
TUNES = {
    "waltz": ("Hard Times Come Again", "Stephen Foster", "Pop", "C2E2G2|c2G2E2|C6|]"),
    "jig": ("The Kesh", "traditional", "Folk", "d2f2a2|f2d2A2|D6|]"),
    "lament": ("Lament", "J. Doe", "Folk", "A2c2e2|e2c2A2|A6|]"),
}
TITLES = {title: name for name, (title, *_) in TUNES.items()}


def abc(notes):
    return f"X:1\nT:A title that the lead sheet loses\nL:1/8\nM:3/4\nK:C\n{notes}\n"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def scores(tmp_path):
    """A folder of three scores and its table."""
    (tmp_path / "scores").mkdir()
    for name, (*_, notes) in TUNES.items():
        (tmp_path / "scores" / f"{name}.abc").write_text(abc(notes))
    rows = [
        {"file": f"{name}.abc", "title": title, "artists": who, "genre": genre, "year": ""}
        for name, (title, who, genre, _) in TUNES.items()
    ]
    write_csv(tmp_path / "songs.csv", rows)
    return tmp_path / "scores"


def write_csv(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def song_in(messages):
    return next(name for title, name in TITLES.items() if f'"title": "{title}"' in messages[1]["content"])


def right(messages, **changed):
    """Return a right answer of the model that writes, of the translator, and of the one who translates back."""
    asked = messages[1]["content"]
    if "Known of the piece" in asked:
        value = {"enough": True, "reason": ""} | {
            name: f"{name} of the {song_in(messages)}: {ENGLISH}" for name in LONG_TEXTS
        }
        return json.dumps(value | changed)
    code, texts = language_of(messages), json.loads(asked.partition("):\n")[2])
    if code == "en":  # the translation has the song's name at its end
        again = {name: f"{name} of the {text.split()[-1]}: {ENGLISH}" for name, text in texts.items()}
        return json.dumps({name: text.replace("slow", "quiet") for name, text in again.items()})
    named = {name: re.search(r"of the (\w+)", text)[1] for name, text in texts.items()}
    return json.dumps({name: f"{TEXTS[code]} {TEXTS[code]} {song}" for name, song in named.items()})


def make(script, capsys, scores, server, *flags, languages="fr,ta"):
    argv = [scores, scores.parent / "own", "--metadata", scores.parent / "songs.csv", *QUICK]
    argv += ["--base_url", server.url, "--languages", languages, *flags]
    code = run(lambda: script(MAKE).main([str(part) for part in argv]))
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out.startswith("{") else captured.out, captured.err


def test_from_scores_to_retrieval(script, scores, tiny_weights, tmp_path, capsys):
    with FakeLLM(lambda messages, count: Reply(right(messages))).running() as server:
        code, report, _ = make(script, capsys, scores, server, "--price_in", "2", "--price_out", "8")
    own = scores.parent / "own"
    assert code == 0 and (report["songs"], report["with_texts"], report["left_out"]) == (3, 3, [])
    assert {name: stage["written"] for name, stage in report["stages"].items()} == {
        "texts": 3, "fr": 3, "fr back": 3, "ta": 3, "ta back": 3
    }  # fmt: skip
    assert report["usage"]["requests"] == len(server.requests) == 15
    assert report["cost"] == pytest.approx((2 * server.prompt_tokens + 8 * server.completion_tokens) / 1e6)

    made = rows(own / "benchmark.jsonl")
    assert [row["id"] for row in made] == sorted(TUNES)
    assert set(made[0]) == {"id", "title", "artists", "genre", *LONG_TEXTS, "leadsheet"}
    assert made[0]["background"].startswith("background of the jig") and "d2f2a2" in made[0]["leadsheet"]
    assert "A title" not in made[0]["leadsheet"] and made[0]["genre"] == "Folk"
    translated = rows(own / "translations" / "fr.jsonl")
    assert [set(row) for row in translated] == [{"id", "background"}] * 3
    assert translated[0]["background"].startswith(TEXTS["fr"])

    # BLEU is sacrebleu's of the back-translations: four of them differ in one word of about twenty.
    import sacrebleu

    backs = [row["background"] for row in rows(own / "work" / "fr.back.jsonl")]
    expected = sacrebleu.corpus_bleu(backs, [[row["background"] for row in made]]).score
    assert report["bleu"]["fr"]["background"]["bleu"] == pytest.approx(expected, abs=0.005) and 50 < expected < 100
    stored = json.loads((own / "bleu.json").read_text())["fr"]["background"]
    assert "tok:13a" in stored["bleu_signature"] and stored["ids"] == sorted(TUNES) and len(stored["each"]) == 3

    # What the model was given, and what people review.
    (first, *_) = rows(own / "work" / "texts.provenance.jsonl")
    assert '"artists": "traditional"' in first["given"] and "d2f2a2" in first["given"]
    assert '"metre": "3/4"' in first["given"] and '"year"' not in first["given"] and first["model"] == "tiny"
    page = (own / "review.html").read_text()
    assert 'lang="ta"' in page and TEXTS["ta"][:20] in page and "<script" not in page
    assert [row["keep"] for row in read_csv(own / "review.csv")] == ["yes"] * 3
    manifest = json.loads((own / "manifest.json").read_text())
    assert set(manifest["files"]) == {
        "work/songs.jsonl",
        "benchmark.jsonl",
        "translations/fr.jsonl",
        "translations/ta.jsonl",
    }
    assert [name.partition("@")[0] for name in manifest["prompts"]] == ["benchmark-1", "translate_text-1"]

    # The existing commands evaluate it.
    tasks = [task.name for task in open_benchmark("own", own).tasks]
    assert tasks == [*(f"{name}-abc" for name in LONG_TEXTS), "background.fr-abc", "background.ta-abc"]
    assert [len(task.examples) for task in open_probe("own", own).tasks] == [3] * 5
    argv = ["own", "--data", str(own), "--model", tiny_weights, "--json", str(tmp_path / "result.json")]
    assert script("retrieval/benchmark.py").main([*map(str, argv)]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["published"] == [] and result["not_run"] == [] and len(result["scores"]) == 6


def test_again_only_what_a_person_changed_is_asked_for(script, scores, capsys):
    own = scores.parent / "own"
    with FakeLLM(lambda messages, count: Reply(right(messages))).running() as server:
        make(script, capsys, scores, server, "--until", "texts")
        assert len(server.requests) == 3 and not (own / "translations").exists()
        make(script, capsys, scores, server)
        assert len(server.requests) == 15
        before = {path.name: path.read_bytes() for path in (own / "translations").iterdir()}
        code, report, _ = make(script, capsys, scores, server)
        assert code == 0 and len(server.requests) == 15 and report["stages"]["ta"]["done_before"] == 3
        assert {path.name: path.read_bytes() for path in (own / "translations").iterdir()} == before

        review = read_csv(own / "review.csv")
        review[0] |= {"background": f"corrected of the reel: {ENGLISH}"}
        review[1] |= {"keep": "No"}
        write_csv(scores.parent / "corrected.csv", review[:2])  # a row that is not there changes nothing
        reviewed = ("--reviewed", scores.parent / "corrected.csv")
        code, report, _ = make(script, capsys, scores, server, *reviewed, languages="fr")
        assert code == 0 and report["with_texts"] == 2
        assert [request["body"]["messages"][1]["content"].count("of the reel") for request in server.requests[15:]] == [
            1,
            0,
        ]
        made = rows(own / "benchmark.jsonl")
        assert [row["id"] for row in made] == ["jig", "waltz"] and made[0]["background"].startswith("corrected of")
        assert [row["background"].split()[-1] for row in rows(own / "translations" / "fr.jsonl")] == ["reel", "waltz"]
        assert not (own / "translations" / "ta.jsonl").exists(), "of another run's languages"

    for broken, said in (
        ({"id": "polka"}, "row 2: there are no texts of a song polka"),
        ({"scene": " "}, "lacks scene"),
    ):
        write_csv(scores.parent / "corrected.csv", [review[0] | broken])
        code, _, error = make(script, capsys, scores, server, *reviewed)
        assert code == 1 and said in error


def test_answers_are_checked_and_songs_without_texts_left_out(script, scores, capsys):
    def decide(messages, count):
        if "Known of the piece" not in messages[1]["content"]:
            return Reply(right(messages))
        song = song_in(messages)
        if song == "waltz" and count == 1:
            return Reply(right(messages, description=f"As Foster sang: {ENGLISH}"))
        if song == "jig":
            empty = dict.fromkeys(LONG_TEXTS, "")
            return Reply(right(messages, enough=False, reason="a title only", **empty))
        return Reply(right(messages, scene=TEXTS["de"]) if song == "lament" else right(messages))

    with FakeLLM(decide).running() as server:
        code, report, _ = make(script, capsys, scores, server, "--n_answers", "2", languages="fr")
        asked = [request["body"]["messages"] for request in server.requests]
    assert code == 1 and report["with_texts"] == 1
    texts = report["stages"]["texts"]
    assert texts["refused"] == [["jig", "too little is known: a title only"]]
    assert texts["failed"][0][0] == "lament" and "scene: asked for English, reads as German" in texts["failed"][0][1]
    assert any("description gives away the name Foster" in messages[-1]["content"] for messages in asked)
    assert [row["id"] for row in rows(scores.parent / "own" / "benchmark.jsonl")] == ["waltz"]


def test_the_translator_back_sees_the_translation_only_and_may_be_another(script, scores, capsys):
    with FakeLLM(lambda messages, count: Reply(right(messages))).running() as server:
        code, _, _ = make(
            script, capsys, scores, server, "--back_model", "other", "--translate", "scene", languages="el"
        )
        bodies = [request["body"] for request in server.requests]
    back = [body for body in bodies if body["model"] == "other"]
    assert code == 0 and len(back) == 3 and len(bodies) == 9
    for body in back:
        sent = "\n".join(message["content"] for message in body["messages"])
        assert TEXTS["el"] in sent and ENGLISH not in sent and "English (ISO 639: en)" in sent
    assert list(rows(scores.parent / "own" / "translations" / "el.jsonl")[0]) == ["id", "scene"]
    assert "scene.el-abc" in [task.name for task in open_benchmark("own", scores.parent / "own").tasks]


def test_texts_that_are_there_are_only_translated(script, tmp_path, capsys):
    """The translations of WikiMT-X, which nobody distributes, where its own loader looks for them."""
    root = tmp_path / "wikimt-x"
    root.mkdir()
    path = root / "wikimt-x-public.jsonl"
    made = [
        {"youtube_id": f"{name}_______", "genre": genre, "leadsheet": abc(notes)}
        | {field: f"{field} of the {name}: {ENGLISH}" for field in LONG_TEXTS}
        for name, (_, _, genre, notes) in TUNES.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    main = script(MAKE).main
    assert main([str(path), str(root), "--languages", "fr", "--dry_run", "--json"]) == 0
    assert [row["stage"] for row in json.loads(capsys.readouterr().out)["stages"]] == ["fr", "fr back"]
    with FakeLLM(lambda messages, count: Reply(right(messages))).running() as server:
        assert main([str(path), str(root), "--languages", "fr", "--base_url", server.url, *QUICK]) == 0
        assert len(server.requests) == 6
    assert json.loads(capsys.readouterr().out)["with_texts"] == 3
    tasks = {task.name: task for task in open_benchmark("wikimtx", root).tasks}
    assert [key for key, _ in tasks["background.fr-abc"].queries] == [f"{name}_______" for name in TUNES]
    assert run(lambda: main([str(path), str(root), "--metadata", str(path)])) == 2
    path.write_text(json.dumps(made[0]) + "\n" + json.dumps(made[0]) + "\n")
    assert run(lambda: main([str(path), str(root), "--dry_run"])) == 1
    assert ":2 has the id waltz_______ for the second time" in capsys.readouterr().err


def test_what_training_has_seen_is_left_out_before_anything_is_paid_for(script, scores, tmp_path, capsys):
    training = [{"id": "x", "title": "Hard times: come again!", "artists": ["Stephen Foster"], "filepaths": ["x.abc"]}]
    (tmp_path / "train.jsonl").write_text(json.dumps(training[0]) + "\n")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "copy.abc").write_text(abc(TUNES["lament"][3]))
    extract = script("code/extract_clamp3.py").main
    assert extract([str(tmp_path / "train"), str(tmp_path / "vectors"), "--get_global", "--model", "mini"]) == 0
    capsys.readouterr()
    flags = ("--training", tmp_path / "train.jsonl", "--training_vectors", tmp_path / "vectors", "--near", "0.9999")
    with FakeLLM(lambda messages, count: Reply(right(messages))).running() as server:
        code, report, _ = make(script, capsys, scores, server, *flags, "--until", "songs")
        assert code == 0 and (report["songs"], report["leaks"]) == (3, {"records": 1, "vectors": 1})
        assert not server.requests
        code, report, _ = make(script, capsys, scores, server, *flags, "--drop_leaks", "--until", "texts")
        assert code == 0 and (report["songs"], report["with_texts"], len(server.requests)) == (1, 1, 1)
    assert report["left_out"] == [["lament.abc", "training has seen it"], ["waltz.abc", "training has seen it"]]
    stored = json.loads((scores.parent / "own" / "leaks.json").read_text())
    assert stored["records"][0]["id"] == "waltz" and stored["vectors"][0]["id"] == "lament"


def test_a_dry_run_says_what_it_would_ask_and_writes_nothing(script, scores, capsys):
    argv = [str(scores), str(scores.parent / "own"), "--metadata", str(scores.parent / "songs.csv"), "--dry_run"]
    main = script(MAKE).main
    assert main([*argv, "--price_in", "2.5", "--price_out", "10"]) == 0
    said = capsys.readouterr().out
    assert '"title": "The Kesh"' in said and "ru back" in said and "cost about 0." in said
    assert main([*argv, "--json", "--languages", "fr", "--price_out", "10"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [(row["stage"], row["requests"]) for row in plan["stages"]] == [("texts", 3), ("fr", 3), ("fr back", 3)]
    # Mean bytes of the paper's table 1: four texts of 2,645, backgrounds of 820 in other languages and 532 in English.
    answers = 3 * 2645 // 4 + 3 * 820 // 4 + 3 * 532 // 4
    assert plan["total"]["completion_tokens"] == answers and plan["cost"] == pytest.approx(answers * 1e-5)
    assert not (scores.parent / "own").exists()


def test_scores_and_table_are_joined_and_everything_else_is_named(scores, tmp_path):
    (scores / "sub").mkdir()
    (scores / "sub" / "again.abc").write_text(abc(TUNES["jig"][3]))
    (scores / "sub" / "polka.abc").write_text("no music")
    (scores / "sub" / "reel.abc").write_text(abc("G2B2d2|g2d2B2|G6|]"))
    (scores / "take.mid").write_bytes(b"MThd")
    (scores / "unknown.abc").write_text(abc("E2E2E2|E6|]"))
    table = [
        *({"id": name, "title": title} for name, (title, *_) in TUNES.items()),
        {"id": "sub/again", "title": "Again"},
        {"id": "polka", "title": "Polka"},
        {"id": "sub/reel.abc", "title": "Reel", "artists": ["A", "B"], "tags": []},
        {"id": "gone", "title": "Gone"},
    ]
    path = tmp_path / "songs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    songs, left_out = collect(scores, path)
    assert [song["id"] for song in songs] == ["jig", "lament", "sub_reel", "waltz"]
    assert songs[2]["artists"] == ["A", "B"] and "tags" not in songs[2] and songs[2]["score"]["bars"] == 3
    reasons = dict(left_out)
    assert reasons["sub/again.abc"] == "the same music as jig.abc" and reasons["gone"] == "no such score"
    assert reasons["take.mid"] == "a midi file, not a score" and reasons["unknown.abc"] == "no row in songs.jsonl"
    assert set(reasons) == {"sub/again.abc", "sub/polka.abc", "take.mid", "unknown.abc", "gone"}
    without, _ = collect(scores)
    assert next(song for song in without if song["id"] == "jig")["title"] == "A title that the lead sheet loses"
    path.write_text(json.dumps({"title": "x"}) + "\n")
    with pytest.raises(DataError, match="row 1 names no score"):
        collect(scores, path)


def test_pages_show_texts_as_text():
    page = as_page("<b>", [("<i>", "<u>", [("x", 'a"b', "<script>")])])
    assert "<script>" not in page and "<u>" not in page and "<i>" not in page and 'lang="a&quot;b"' in page


def test_other_benchmarks_keep_their_layout(scores, tmp_path):
    (tmp_path / "benchmark.jsonl").write_text(
        json.dumps({"id": "a_song", "genre": "", **dict.fromkeys(LONG_TEXTS, "x"), "leadsheet": abc("C6|]")}) + "\n"
    )
    (tmp_path / "translations").mkdir()
    (tmp_path / "translations" / "de.jsonl").write_text(json.dumps({"id": "a_song", "text": "x"}) + "\n")
    with pytest.raises(FormatError, match=r"de\.jsonl has none of background, analysis"):
        open_benchmark("own", tmp_path)


CAPTIONS = {
    "aaaaaaaaaaa": ("A slow song for voice and piano at 60 bpm, full of sorrow and longing", "True"),
    "-bbbbbbbb_2": ("A lively jig for fiddle and drum, played at a country dance", "True"),
    "ccccccccccc": ("A march for brass", "False"),
}


def test_captions_are_rewritten_for_a_leak_free_musiccaps(script, tmp_path, capsys):
    table = [{"ytid": id, "start_s": 0, "caption": c, "is_audioset_eval": e} for id, (c, e) in CAPTIONS.items()]
    write_csv(tmp_path / "musiccaps-public.csv", table)
    anew = {
        "slow": ("At 60 bpm a singer mourns; the piano follows, and home seems far away to all of them",),
        "jig": (
            "The lively jig for fiddle and drum has people dance far out in the villages",
            "Villagers dance to a quick Irish tune of drum and violin, with joy and without any rest",
        ),
    }

    def decide(messages, count):
        answers = anew["slow" if "slow" in messages[1]["content"] else "jig"]
        return Reply(json.dumps({"caption": answers[min(count, len(answers)) - 1]}))

    argv = [tmp_path / "musiccaps-public.csv", tmp_path / "rewritten.csv", "--only", "is_audioset_eval=true", *QUICK]
    with FakeLLM(decide).running() as server:
        main = script(REWRITE).main
        for n_asked in (3, 3):  # the second time nothing
            assert main([*map(str, argv), "--base_url", server.url]) == 0
            assert json.loads(capsys.readouterr().out)["items"] == 2 and len(server.requests) == n_asked
        said = [request["body"]["messages"][-1]["content"] for request in server.requests]
    assert any('it keeps words of the original: "lively jig for fiddle and drum"' in text for text in said)
    clips = musiccaps.read(tmp_path)
    assert [clip.rewritten and clip.rewritten.read().decode() for clip in clips] == [
        anew["slow"][0],
        anew["jig"][1],
        None,
    ]
    page = (tmp_path / "rewritten.html").read_text()
    assert all(text in page for text in (CAPTIONS["-bbbbbbbb_2"][0], anew["jig"][1]))

    assert main([*map(str, argv[:2]), "--dry_run"]) == 0 and "A march for brass" in capsys.readouterr().out
    for flags, said in (
        (("--only", "split=test"), "needs ids"),
        (("--only", "is_audioset_eval=maybe"), "no row with is_audioset_eval=maybe"),
    ):
        with pytest.raises(DataError, match=said):
            main([*map(str, argv[:2]), *flags])


@pytest.fixture(scope="module")
def endpoint(script):
    """The server of docs/own_benchmark.md, which is no language model."""
    return script("examples/own_benchmark/endpoint.py")


def facts(number):
    """Facts of a made-up score that together with others name every word of the endpoint's tables once."""
    return {
        **{"key": ["G", "F#", "Bb", "D", "E", "C", "A"][number % 7], "metre": "" if number == 9 else "6/8"},
        "mode": ["major", "minor", "dorian", "mixolydian", "phrygian", "lydian", "pentatonic"][number % 7],
        **{"bars": 9 + number, "low": 55 + number, "high": 70 + number, "voices": 1 + number % 3},
        **{"opening": ["D", "F#", "Bb", "G"], "contour": ["up", "down", "same"], "last": "G", "leap": number},
        "shortest": [4, 2, 1, 0.5, 1 / 3, 0.25, 0.125][number % 7],
        **{"steps": 40, "pickup": number % 2 == 0, "density": 1.0},
    }


def test_the_scripted_endpoint_says_every_word_in_ten_languages(endpoint):
    """What it says in one language it reads back as the same facts; English alone has several ways to say them."""
    from clamp3.metadata.detect import language_problem

    song = {"form": "jig", "collection": "oneill", "region": "ireland", "century": 19, "artists": ["traditional"]}
    for number in range(14):
        texts = endpoint.write_texts(song | {"title": f"Tune {number}", "facts": facts(number)})
        for language in LANGUAGES:
            there = "\n".join(endpoint.translate(line, "en", language) for line in texts["analysis"].splitlines())
            assert endpoint.language_of(there) == language and not language_problem(there, language)
            back = "\n".join(endpoint.translate(line, language, "en") for line in there.splitlines())
            once_more = "\n".join(endpoint.translate(line, "en", language) for line in back.splitlines())
            assert once_more == there
    with pytest.raises(LookupError):
        endpoint.translate("a sentence of nobody", "en", "fr")


def test_the_page_s_example_with_three_songs(endpoint, script, scores, tmp_path, capsys):
    rows = [
        {
            **{"file": f"{name}.abc", "title": title, "artists": [who], "genre": genre, "facts": facts(number)},
            **{"form": "waltz", "collection": "oneill", "region": "ireland", "century": 19},
        }
        for number, (name, (title, who, genre, _)) in enumerate(TUNES.items())
    ]
    (tmp_path / "songs.csv").unlink()
    table = tmp_path / "songs.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    servers = []
    serving = threading.Thread(target=endpoint.serve, args=(0, servers.append), daemon=True)
    serving.start()
    while not servers:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{servers[0].server_port}/v1"
    argv = [scores, tmp_path / "own", "--metadata", table, "--base_url", url, "--translate", "analysis", "--languages"]
    try:
        assert script(MAKE).main([*map(str, argv), "fr,am", *QUICK]) == 0
    finally:
        servers[0].shutdown()
        serving.join()
    report = json.loads(capsys.readouterr().out.partition("\n")[2])  # after the server's line
    assert 60 < report["bleu"]["am"]["analysis"]["bleu"] <= report["bleu"]["fr"]["analysis"]["bleu"] <= 100
    tasks = [f"analysis{language}-abc" for language in ("", ".fr", ".am")]
    score = {"intervals_95": {"mrr": [0.1, 0.9]}, "metrics": {"mrr": 0.5, "chance_mrr": 0.3}}
    (tmp_path / "result.json").write_text(json.dumps({"scores": [{"task": task, **score} for task in tasks]}))
    draw = [str(tmp_path / name) for name in ("own", "result.json", "languages.png")]
    assert script("examples/own_benchmark/draw.py").main(draw) == 0
    assert (tmp_path / "languages.png").read_bytes().startswith(b"\x89PNG")
