"""Genre and language probes of HTCL's paper: extract_clamp3.py and train_cls.py on vectors of a small HTCL."""

from __future__ import annotations

import json
import shutil

import pytest
from training_music import KEYS, read_rows
from training_songs import N_SONGS, SMALL, write_songs

from clamp3.training.htcl_config import HtclTraining
from clamp3.training.htcl_task import make_htcl_task
from clamp3.training.loop import start_run


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Return a folder of mel frames, and the model of stage 1."""
    songs = write_songs(tmp_path_factory.mktemp("songs"))
    rates = {"learning_rate": 2e-3, "encoder_rate": 2e-3, "dropout": 0.0}
    config = HtclTraining(songs=songs / "songs.jsonl", out=songs / "run", text_model=str(songs), text_from_scratch=True,
                          **{**SMALL, "epochs": 150, "batch_size": 12, **rates})  # fmt: skip
    start_run(config, make_htcl_task)
    mels = songs / "mels"
    mels.mkdir()
    for row in read_rows(songs / "songs.jsonl"):
        shutil.move(songs / row["mel"], mels)
    return songs


@pytest.mark.parametrize("label", ["genre", "language"])
def test_probes_on_vectors(features, script, tmp_path, capsys, label):
    """A theme, which the frames have, makes one of three genres and one of two languages."""
    pytest.importorskip("sklearn")
    vectors = tmp_path / "vectors"
    arguments = [str(features / "mels"), str(vectors), "--get_global", "--model", str(features / "run")]
    assert script("code/extract_clamp3.py").main(arguments) == 0
    n_classes = {"genre": 3, "language": 2}[label]
    rows = [f"s{number},{label}{number % len(KEYS) % n_classes}" for number in range(N_SONGS)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    capsys.readouterr()
    done = script("classification/train_cls.py").main([
        "--train_folder", str(vectors), "--labels", str(tmp_path / "labels.csv"), "--folds", "4", "--num_epochs", "200",
        "--learning_rate", "0.05", "--output", str(tmp_path / "probe.pth"), "--json"])  # fmt: skip
    assert done == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == [f"{label}{number}" for number in range(n_classes)]
    assert found["summary"]["accuracy"]["mean"] > 1.5 / n_classes
