"""The search scripts from outside: any query, any mixture of files, reasons for what fails, and the second question."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import Clamp3Error, ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ask(script, tiny_weights):
    main = script("retrieval/clamp3_search.py").main
    return lambda *args: main([*map(str, args), "--model", str(tiny_weights)])


def test_a_sentence_ranks_a_folder_of_any_mixture(ask, music, tiny_weights, capsys):
    (music / "titled.abc").write_text(
        "X:1\nT:The Title\nL:1/8\nM:2/4\nK:D\nV:1 treble\nV:2 bass\nV:1\nD4|E4|]\nV:2\nD,4|E,4|]\n"
    )
    (music / "cover.jpg").write_bytes(b"jpg")
    assert ask("sad waltz for piano", music, "--json", "--kind", "all") == 0
    answer = json.loads(capsys.readouterr().out)
    hits = answer["results"]
    assert answer["n_references"] == len(hits) == 6 and answer["failures"] == []
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert {hit["name"]: hit.get("title") for hit in hits} == {
        "audio.npy": None,
        "long.abc": None,
        "play.mtf": None,
        "song.txt": "slow song",
        "sub/tune.ABC": None,
        "titled.abc": "The Title",
    }
    clamp3 = Clamp3.from_pretrained(tiny_weights)
    a, b = clamp3.encode(["sad waltz for piano", music / "play.mtf"]).vectors
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    got = next(hit["score"] for hit in hits if hit["name"] == "play.mtf")
    assert got == pytest.approx(expected, abs=1e-5)


def test_titles_that_the_pipe_cannot_write_are_escaped(music, tiny_weights):
    (music / "song.txt").write_text("春の歌 🎵", encoding="utf-8")
    flags = ["--model", tiny_weights, "--json", "--kind", "text"]
    command = [sys.executable, ROOT / "retrieval/clamp3_search.py", "a song", music, *flags]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, check=False)
    assert done.returncode == 0, done.stderr
    assert "春の歌 🎵" in [hit.get("title") for hit in json.loads(done.stdout.decode("cp1252"))["results"]]


def test_a_folder_of_vectors_is_searched_by_them(ask, script, music, tiny_weights, tmp_path, capsys):
    """Width of the joint space and of audio features may be the same, so it is not the shape that tells."""
    out = tmp_path / "vectors"
    extract = script("code/extract_clamp3.py").main
    assert extract([str(music), str(out), "--get_global", "--model", str(tiny_weights), "--device", "cpu"]) == 0
    capsys.readouterr()
    hits = []
    for folder in (music, out):
        assert ask("slow song", folder, "--json") == 0
        found = json.loads(capsys.readouterr().out)["results"]
        hits.append({hit["name"].rpartition(".")[0]: pytest.approx(hit["score"], abs=1e-5) for hit in found})
    assert hits[0] == hits[1]
    assert ask(out / "long.npy", out, "--json", "--keep_duplicates") == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["name"] == "long.npy"
    np.save(out / "odd.npy", np.ones((1, 3), np.float32))
    (out / "hidden").mkdir()
    np.save(out / "hidden" / "h.npy", np.ones((1, 5, 24), np.float32))
    meta = json.loads((out / "features.json").read_text())
    (out / "hidden" / "features.json").write_text(json.dumps({**meta, "arrays": "temporal"}))
    (tmp_path / "features.json").write_text("[1]")  # somebody else's
    assert ask("slow song", out, "--strict") == 1
    said = capsys.readouterr().err
    assert "odd.npy has width 3" in said and "hidden states" in said
    assert ask("slow song", music) == 0
    (out / "features.json").write_text(json.dumps({**meta, "weights": "others"}))
    with pytest.raises(DataError, match="vector of other weights"):
        ask("slow song", out)


def test_a_mistake_in_the_question_does_not_wait_for_the_folder(ask, music, monkeypatch):
    monkeypatch.setattr(Clamp3, "stream", lambda *_, **__: pytest.fail("encodes before it looks"))
    with pytest.raises(Clamp3Error, match="does not exist"):
        ask("tune.mid", music)
    for flags in ((), ("--passages",)):
        with pytest.raises(ConfigError, match="top_k is 0"):
            ask("a jig", music, "--top_k", 0, *flags)


def names(out):
    return [line.split("\t")[0] for line in out.splitlines()]


def test_more_like_this_is_neither_the_query_nor_a_copy(ask, music, capsys):
    """Copies of the query in its folder are no answers, those of an answer take no place; asked for, all are ranked."""
    (music / "copy of long.abc").write_bytes((music / "long.abc").read_bytes())
    (music / "sub" / "again.mtf").write_bytes((music / "play.mtf").read_bytes())
    assert ask(music / "long.abc", music, "--format", "json") == 0
    captured = capsys.readouterr()
    hits = {hit["name"]: hit.get("also") for hit in json.loads(captured.out)["results"]}
    assert hits == {"play.mtf": ["sub/again.mtf"], "sub/tune.ABC": None, "audio.npy": None}
    assert "the query itself is no result (copy of long.abc, long.abc); --keep_duplicates ranks it." in captured.err
    assert ask(music / "long.abc", music, "--format", "table") == 0
    assert "play.mtf  (+1 the same)" in capsys.readouterr().out
    assert ask(music / "long.abc", music, "--keep_duplicates", "--top_k", 2) == 0
    assert capsys.readouterr().out == "copy of long.abc\t1.0000\nlong.abc\t1.0000\n"
    # A query from elsewhere finds the copy: that is what somebody who has the file looks for.
    query = music.parent / "query.abc"
    query.write_bytes((music / "long.abc").read_bytes())
    assert ask(query, music, "--top_k", 1, "--json") == 0
    (hit,) = json.loads(capsys.readouterr().out)["results"]
    assert (hit["name"], hit["also"], hit["score"]) == ("copy of long.abc", ["long.abc"], 1.0)


def test_copies_are_one_result_among_passages_too(script, tmp_path, tiny_mel, capsys):
    folder = tmp_path / "music"
    folder.mkdir()
    bars = [f"[V:1]{'CDEFGAB'[i % 7]}4|[V:2]C,{1 + i % 3}|\n" for i in range(40)]
    for name in ("one.abc", "two.abc"):
        (folder / name).write_text("%%score 1 2\nL:1/8\nM:2/4\nK:C\nV:1 treble\nV:2 bass\n" + "".join(bars))
    main = script("retrieval/clamp3_search.py").main
    assert main(["a jig", str(folder), "--passages", "--model", str(tiny_mel), "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["results"]
    assert {hit["name"] for hit in hits} == {"one.abc"} and all(hit["also"] == ["two.abc"] for hit in hits)


def test_the_released_name_ranks_everything_as_released(script, music, tiny_weights, capsys):
    (music / "copy.abc").write_bytes((music / "long.abc").read_bytes())
    main, query = script("clamp3_search.py").main, str(music / "long.abc")
    assert main([query, str(music), "--model", str(tiny_weights)]) == 0
    everything = names(capsys.readouterr().out)
    assert everything[:2] == ["copy.abc", "long.abc"] and "song.txt" in everything and len(everything) == 6
    flags = ["--kind", "music", "--no-keep_duplicates"]
    assert main([query, str(music), "--model", str(tiny_weights), *flags]) == 0
    assert set(names(capsys.readouterr().out)) == set(everything[2:]) - {"song.txt"}


def test_texts_are_ranked_where_they_are_wanted(ask, music, tmp_path, capsys):
    assert ask("slow song", music) == 0
    captured = capsys.readouterr()
    assert "song.txt" not in names(captured.out) and "1 text is not ranked; --kind all ranks it too." in captured.err
    assert ask("slow song", music, "--kind", "text") == 0
    assert names(capsys.readouterr().out) == ["song.txt"]
    assert ask("slow song", music, "--kind", "midi, abc") == 0
    assert set(names(capsys.readouterr().out)) == {"play.mtf", "long.abc", "sub/tune.ABC"}
    words = tmp_path / "words"
    words.mkdir()
    (words / "a.txt").write_text("a jig")
    assert ask(music / "play.mtf", words) == 0  # music to texts is a search too
    captured = capsys.readouterr()
    assert names(captured.out) == ["a.txt"] and not captured.err
    with pytest.raises(ConfigError, match="there is no kind 'scores'; there are music, text, score, midi, audio, all"):
        ask("a jig", music, "--kind", "scores")


def test_stored_vectors_of_texts_are_texts(ask, script, music, tiny_weights, tmp_path, capsys):
    out = tmp_path / "vectors"
    extract = script("code/extract_clamp3.py").main
    assert extract([str(music), str(out), "--get_global", "--model", str(tiny_weights), "--device", "cpu"]) == 0
    capsys.readouterr()
    for flags, expected in (
        ((), {"play.npy", "long.npy", "sub/tune.npy", "audio.npy"}),
        (("--kind", "text"), {"song.npy"}),
        (("--kind", "score"), {"long.npy", "sub/tune.npy"}),
    ):
        assert ask("slow song", out, *flags) == 0
        assert set(names(capsys.readouterr().out)) == expected
    (out / "ledger.jsonl").unlink()
    assert ask("slow song", out) == 0
    assert "song.npy" in names(capsys.readouterr().out)  # nothing says any longer what it was


def test_several_folders_exclusion_and_a_least_score(ask, music, tmp_path, capsys):
    other = tmp_path / "other"
    (other / "drafts").mkdir(parents=True)
    for name in ("drafts/x.abc", "y.abc"):
        (other / name).write_text("X:1\nL:1/8\nM:3/4\nK:G\nGABcde|" + "def " * len(name) + "|\n")
    assert ask("a jig", music, other, "--exclude", "drafts", "--exclude", "*.NPY", "--exclude", "sub/*", "--json") == 0
    hits = json.loads(capsys.readouterr().out)["results"]
    assert {hit["name"] for hit in hits} == {"music/play.mtf", "music/long.abc", "other/y.abc"}
    assert {hit["path"] for hit in hits} == {str(tmp_path / hit["name"]) for hit in hits}
    middle = sorted(hit["score"] for hit in hits)[1]
    assert ask("a jig", music, other, "--exclude", "drafts", "--min_score", middle, "--json") == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert 2 <= len(found) < 5 and all(hit["score"] >= middle for hit in found)
    assert ask("a jig", music, "--min_score", 2) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "no file has a cosine of 2; the highest is " in captured.err


def test_what_fails_is_named_and_the_rest_is_ranked(ask, music, capsys):
    (music / "bad.mid").write_bytes(b"MThd")
    (music / "cover.jpg").write_bytes(b"jpg")
    for flags, code in (((), 0), (("--strict",), 1)):
        assert ask("a jig", music, *flags) == code
        captured = capsys.readouterr()
        assert len(captured.out.splitlines()) == 4
        assert "warning: left out: bad.mid: " in captured.err and "1 .jpg" in captured.err


@pytest.mark.parametrize(
    "command",
    [
        "retrieval/clamp3_search.py jig nowhere",
        "retrieval/clamp3_search.py lost.mid {0}",
        "clamp3_search.py jig {0} nowhere",
        "retrieval/semantic_search.py {0} nowhere",
        "retrieval/eval_mrr.py {0} nowhere",
        "retrieval/clamp3_score.py nowhere {0}",
        "retrieval/frechet.py {0} nowhere",
        "retrieval/map.py {0} nowhere",
        "classification/zero_shot_cls.py nowhere a b",
        "classification/train_cls.py --train_folder nowhere",
        "classification/inference_cls.py {0} nowhere out.json",
        "code/extract_clamp3.py nowhere out",
        "code/extract_m3.py nowhere out",
        "preprocessing/audio/extract_mert.py --input_path nowhere --output_path out",
    ],
)
def test_a_mistyped_folder_is_reported_before_torch_is_imported(command, music):
    script, *args = command.format(music).split()
    code = f"""
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        assert name.partition(".")[0] not in ("torch", "transformers"), name + " is imported"
sys.meta_path.insert(0, Refuse())
sys.argv = {[str(ROOT / script), *args]!r}
sys.path.insert(0, {str((ROOT / script).parent)!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=music.parent)
    assert done.returncode == (1 if "lost.mid" in command else 2), done.stderr
    assert done.stderr.count("\n") == 1 and ("nowhere" in done.stderr or "lost.mid does not exist" in done.stderr)


def test_the_device_can_be_chosen(ask, music):
    with pytest.raises(Clamp3Error, match="frobnicator"):
        ask("a jig", music, "--no_cache", "--device", "frobnicator")


def test_the_next_question_loads_the_text_tower_alone(ask, music, monkeypatch, capsys):
    assert ask("a jig", music) == 0
    loaded = []
    load = Clamp3._load
    monkeypatch.setattr(Clamp3, "_load", lambda self, modality: loaded.append(modality) or load(self, modality))
    assert ask("a waltz", music) == 0
    assert loaded == ["text"]
    assert ask("a waltz", music, "--no_cache") == 0
    assert sorted(loaded[1:]) == ["audio", "symbolic", "text"]


def test_names_that_are_no_text_can_be_printed(ask, music, capsys):
    (music / os.fsdecode(b"caf\xe9.txt")).write_text("a sad song")
    np.save(music / os.fsdecode(b"bad\xe9.npy"), np.zeros(3))
    assert ask("a sad song", music, "--top_k", 1, "--kind", "all", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["results"][0]["name"] == "caf\\udce9.txt"
    assert answer["failures"][0]["name"] == "bad\\udce9.npy"


def test_folders_and_queries_that_cannot_be_used(ask, music, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "cover.jpg").write_bytes(b"jpg")
    with pytest.raises(DataError, match=r"no file that can be compared \(it has: 1 \.jpg\)"):
        ask("a jig", tmp_path / "pictures")
    with pytest.raises(DataError, match=r"no file that can be compared\."):
        ask("a jig", music, "--kind", "midi", "--exclude", "*.mtf")
    with pytest.raises(ConfigError, match="there is no folder"):
        ask("a jig", tmp_path / "nowhere")
    with pytest.raises(Clamp3Error, match=r"the query cannot be encoded: missing\.mid does not exist"):
        ask("missing.mid", music)
    for flags in ((), ("--passages",)):
        for top_k in (0, -1):
            with pytest.raises(ConfigError, match=f"top_k is {top_k}; at least 1"):
                ask("a jig", music, "--top_k", top_k, *flags)


def test_vectors_of_two_models_are_not_compared(script, tmp_path):
    main = script("retrieval/semantic_search.py").main
    for name, weights in (("query", "saas-1"), ("ref", "c2-2")):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.ones((1, 4), np.float32))
        (tmp_path / name / "features.json").write_text(json.dumps({"arrays": "global", "weights": weights}))
    with pytest.raises(DataError, match=r"saas-1.*c2-2"):
        main([str(tmp_path / "query" / "x.npy"), str(tmp_path / "ref")])


def test_semantic_search_names_what_it_leaves_out(script, tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.ones((1, 4), np.float32))
    np.save(tmp_path / "b.npy", np.ones((1, 7, 4), np.float32))
    main = script("retrieval/semantic_search.py").main
    assert main([str(tmp_path / "a.npy"), str(tmp_path)]) == 0
    assert main([str(tmp_path / "a.npy"), str(tmp_path), "--strict", "--format", "json"]) == 1
    capsys.readouterr()
    assert main([str(tmp_path / "a.npy"), str(tmp_path), "--format", "tsv"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "a\t1.0000\n" and "left out: b.npy: " in captured.err and "--get_global" in captured.err
    np.save(tmp_path / "wide.npy", np.ones(5, np.float32))
    with pytest.raises(DataError, match="width 5"):
        main([str(tmp_path / "wide.npy"), str(tmp_path / "a.npy")])


def test_passages_are_ranked_and_placed(script, tmp_path, tiny_mel, capsys):
    folder = tmp_path / "music"
    folder.mkdir()
    header = "%%score 1 2\nL:1/8\nM:2/4\nK:C\nV:1 treble\nV:2 bass\n"
    low = [f"[V:1]{'CDE'[i % 3]}4|[V:2]C,4|\n" for i in range(16)]
    high = [f"[V:1]{'gab'[i % 3]}/g/a/b/ z2|[V:2]z4|\n" for i in range(16)]
    (folder / "piece.abc").write_text(header + "".join(low + high))
    (folder / "other.abc").write_text(header + "".join(low))
    (folder / "words.txt").write_text("slow song\n")
    query = tmp_path / "query.abc"
    query.write_text(header + "".join(high))
    main = script("retrieval/clamp3_search.py").main
    everything = ["--passages", "--model", str(tiny_mel), "--kind", "all"]
    assert main([str(query), str(folder), *everything, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    first = results[0]
    assert first["name"] == "piece.abc" and first["score"] > 0.99999
    assert (first["passage"]["unit"], first["passage"]["start"], first["passage"]["end"]) == ("bars", 17, 32)
    places = [(hit["name"], hit["passage"]["start"]) for hit in results]
    assert sorted(places) == [("other.abc", 1.0), ("piece.abc", 1.0), ("piece.abc", 17.0), ("words.txt", 0.0)]
    assert main([str(query), str(folder), "--passages", "--model", str(tiny_mel), "--top_k", "1"]) == 0
    assert capsys.readouterr().out.strip() == "piece.abc\t1.0000\tbars 17-32"
