"""From single metadata files to a training run: what the text scripts write is what the trainers read."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from fake_llm import ENGLISH, TEXTS, FakeLLM, Reply, language_of, summary
from training_music import N_PIECES, read_rows, write_music, write_text_model

from clamp3.cli import run
from clamp3.data.text_sampling import clamp2_training_lines, training_lines
from clamp3.metadata.languages import language_code

ROOT = Path(__file__).resolve().parents[2]
LONG = ("background", "analysis", "description", "scene")
SIZES = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "hidden_size": 16, "text_length": 16}
RUN = {"batch_size": 8, "max_steps": 3, "epochs": 2, "warmup_steps": 1, "eval_split": 0.2, "log_every": 1}
TINY = ["--text_from_scratch", *(word for name, value in (SIZES | RUN).items() for word in (f"--{name}", str(value)))]


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return write_text_model(tmp_path_factory.mktemp("text"))


@pytest.fixture
def ask(script, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def call(relative, *argv):
        return run(lambda: script(relative).main([str(part) for part in argv]))

    return call


def write_metadata(music, folder):
    """Write one JSON per piece, as a collector of scores has them."""
    folder.mkdir()
    for i in range(N_PIECES):
        names = [path.name for path in sorted(music.glob(f"p{i:02d}.*")) if path.suffix in (".abc", ".mtf")]
        record = {"id": f"p{i}", "title": f"Piece {i}", "composer": "key number", "filepaths": names}
        (folder / f"p{i:02d}.json").write_text(json.dumps(record))
    return folder


def trained(ask, script_name, jsonl, text_model, out):
    code = ask(f"code/{script_name}.py", "--train_jsonl", jsonl, "--out", out, "--text_model", text_model, *TINY)
    assert code == 0
    steps = [row for row in read_rows(out / "metrics.jsonl") if row["kind"] == "train"]
    assert [row["step"] for row in steps] == [1, 2, 3] and all(math.isfinite(row["loss"]) for row in steps)
    assert (out / "best.safetensors").exists()


def test_summaries_train_clamp2(ask, music, text_model, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "code")
    metadata = write_metadata(music, tmp_path / "metadata")
    merged, made = music / "merged.jsonl", music / "summaries.jsonl"
    assert ask("preprocessing/text/merge.py", metadata, merged, "--music", music) == 0
    with FakeLLM(lambda messages, count: Reply(summary(messages))).running() as server:
        flags = ("--model", "tiny", "--base_url", server.url, "--backoff_sec", "0.02")
        assert ask("preprocessing/text/summarize.py", merged, made, *flags) == 0
    assert ask("preprocessing/text/check.py", made) == 0
    rows = read_rows(made)
    assert len(rows) == N_PIECES
    drawn = {line for seed in range(40) for line in clamp2_training_lines(rows[0], random.Random(seed), keep=1.0)}
    translated = TEXTS[language_code(rows[0]["summary_nen"]["language"])]
    assert drawn == {"Piece 0", "key number", ENGLISH, translated}
    trained(ask, "train_clamp2", made, text_model, tmp_path / "run")


def test_records_train_clamp3(ask, music, text_model, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "code")
    metadata = write_metadata(music, tmp_path / "metadata")
    merged, made = music / "merged.jsonl", music / "records.jsonl"
    assert ask("preprocessing/text/merge.py", metadata, merged, "--music", music) == 0
    results = [{"id": f"p{i}", "results": [f"Piece {i} is a song for voice and piano. " * 8]} for i in range(N_PIECES)]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in results))

    def decide(messages, count):
        system = messages[0]["content"]
        if "about_music" in system:
            return Reply(json.dumps({"about_music": True, "supported": True, "unsupported": [], "reason": ""}))
        if "usable" not in system:
            return Reply(json.dumps(dict.fromkeys(LONG, TEXTS[language_of(messages)])))
        draft = {"usable": True, "reason": "", "title": "Piece", "artists": ["A"], "region": "AT", "language": "en"}
        return Reply(json.dumps({**draft, "genres": ["song"], "tags": ["slow"], **dict.fromkeys(LONG, ENGLISH)}))

    with FakeLLM(decide).running() as server:
        flags = ("--results", tmp_path / "results.jsonl", "--model", "tiny", "--base_url", server.url)
        assert ask("preprocessing/text/generate_records.py", merged, made, *flags) == 0
    assert ask("preprocessing/text/check.py", made) == 0
    rows = read_rows(made)
    assert [row["id"] for row in rows] == [f"p{i}" for i in range(N_PIECES)]
    drawn = [training_lines(rows[0], random.Random(seed), keep=1.0) for seed in range(20)]
    translated = TEXTS[language_code(rows[0]["translations"]["language"])]
    assert [translated] in drawn and any({"Piece", "A", "Austria", "song", "slow", ENGLISH} == set(x) for x in drawn)
    trained(ask, "train_clamp3_symbolic", made, text_model, tmp_path / "run")
