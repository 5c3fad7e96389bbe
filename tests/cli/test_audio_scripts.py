"""Recordings through the scripts: features of folders, resume, reasons, several processes, search by sound."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clamp3.formats.audio import Sound
from clamp3.formats.mel import log_mel
from clamp3.models.mert import Mert

ROOT = Path(__file__).resolve().parents[2]
RATE = 24_000


def tone(seconds, hz, rate=RATE):
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hz * time) * (1 + np.sin(2 * np.pi * 3 * time)) / 2).astype(np.float32)


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "sound"
    (folder / "sub").mkdir(parents=True)
    soundfile.write(folder / "low.wav", tone(12, 110), RATE, subtype="FLOAT")
    soundfile.write(folder / "sub" / "High.FLAC", np.stack([tone(6, 880, 44_100)] * 2, axis=1), 44_100)
    soundfile.write(folder / "middle.ogg", tone(5, 440, 48_000), 48_000)
    soundfile.write(folder / "short.wav", tone(0.4, 440), RATE)
    (folder / "broken.mp3").write_bytes(b"no sound")
    (folder / "cover.jpg").write_bytes(b"picture")
    return folder


def rows(folder):
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    return {row["input"]: row for row in map(json.loads, lines)}


@pytest.mark.parametrize("mean", [True, False])
def test_mert_features_of_a_folder(script, recordings, tiny_mert, tmp_path, capsys, mean):
    main, out = script("preprocessing/audio/extract_mert.py").main, tmp_path / "out"
    command = ["--input_path", str(recordings), "--output_path", str(out), "--model_path", str(tiny_mert)]
    command += ["--batch_size", "3", "--device", "cpu", *(["--mean_features"] if mean else [])]
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "3 converted, 0 already done, 2 failed, 1 of other types" in shown and "at least one second" in shown
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.npy"))
    assert made == ["low.npy", "middle.npy", "sub/High.npy"]
    expected = Mert(tiny_mert, device="cpu").features(Sound(recordings / "low.wav", "low"), mean=mean, batch_size=1)
    low = np.load(out / "low.npy")
    assert low.shape == ((1 if mean else 3), 3, 32) and low.dtype == np.float32
    np.testing.assert_allclose(low, expected, atol=1e-5)
    assert rows(out)["broken.mp3"]["reason"].endswith("Invalid data found when processing input).")
    meta = json.loads((out / "features.json").read_text())
    assert meta["arrays"] == ("mert mean" if mean else "mert layers") and "mert-pytorch_model-" in meta["recordings"]

    assert main(command) == 1  # what failed is tried again, the rest is done
    assert "0 converted, 3 already done, 2 failed" in capsys.readouterr().out
    soundfile.write(recordings / "short.wav", tone(2, 440), RATE)
    (recordings / "broken.mp3").unlink()
    (out / "low.npy").unlink()
    assert main(command) == 0
    assert "2 converted, 2 already done, 0 failed" in capsys.readouterr().out
    np.testing.assert_allclose(np.load(out / "low.npy"), low, atol=1e-5)


def test_arrays_of_other_mert_features_are_not_mixed(script, recordings, tiny_mert, tmp_path):
    from clamp3.errors import ConfigError

    main = script("preprocessing/audio/extract_mert.py").main
    command = ["--input_path", str(recordings / "low.wav"), "--output_path", str(tmp_path / "out")]
    command += ["--model_path", str(tiny_mert), "--device", "cpu"]
    assert main([*command, "--mean_features"]) == 0
    for other in ([], ["--mean_features", "--dtype", "bfloat16"]):
        with pytest.raises(ConfigError, match="cannot be mixed"):
            main([*command, *other])


def test_mel_features_of_a_folder(script, recordings, tmp_path, capsys):
    out = tmp_path / "out"
    main = script("preprocessing/audio/extract_mel.py").main
    assert main(["--input_path", str(recordings), "--output_path", str(out), "--n_workers", "2"]) == 1
    assert "4 converted, 0 already done, 1 failed" in capsys.readouterr().out
    low = np.load(out / "low.npy")
    assert low.shape == (1, 3, 6656) and low.dtype == np.float16
    expected = log_mel(tone(12, 110))
    np.testing.assert_allclose(low[0], expected, atol=5e-3)


def test_two_processes_share_the_recordings(recordings, tiny_mert, tmp_path):
    (recordings / "broken.mp3").unlink()
    (recordings / "short.wav").unlink()
    out = tmp_path / "out"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(ROOT / "preprocessing" / "audio" / "extract_mert.py"), "--input_path", str(recordings)]
    command += ["--output_path", str(out), "--model_path", str(tiny_mert), "--mean_features", "--device", "cpu"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 converted, 0 already done, 0 failed") == 1  # one summary, each file once
    assert (out / "ledger.jsonl").read_text().count('"status": "ok"') == 3


def test_recordings_among_scores_become_vectors(script, music, recordings, tiny_weights, tiny_mert, tmp_path, capsys):
    main, out = script("code/extract_clamp3.py").main, tmp_path / "out"
    common = ["--get_global", "--model", str(tiny_weights), "--device", "cpu"]
    assert main([str(music), str(out), *common]) == 0
    assert "recordings" not in json.loads((out / "features.json").read_text())
    os.replace(recordings / "low.wav", music / "low.wav")
    os.replace(recordings / "middle.ogg", music / "sub" / "middle.ogg")
    assert main([str(music), str(out), *common, "--mert_model", str(tiny_mert)]) == 0
    assert "2 converted, 5 already done, 0 failed" in capsys.readouterr().out
    assert np.load(out / "sub" / "middle.npy").shape == (1, 24)
    assert "mert-" in json.loads((out / "features.json").read_text())["recordings"]
    from clamp3.errors import ConfigError

    with pytest.raises(ConfigError, match="cannot be mixed"):
        main([str(music), str(out), *common, "--mert_model", str(tmp_path)])


def test_a_run_without_mert_can_be_gone_on_with(script, music, recordings, tiny_weights, tiny_mert, tmp_path, capsys):
    main, out = script("code/extract_clamp3.py").main, tmp_path / "out"
    os.replace(recordings / "low.wav", music / "low.wav")
    common = [str(music), str(out), "--get_global", "--model", str(tiny_weights), "--device", "cpu", "--mert_model"]
    assert main([*common, str(tmp_path)]) == 1
    assert main([*common, str(tiny_mert)]) == 0
    assert "1 converted, 5 already done, 0 failed" in capsys.readouterr().out


def test_search_by_sound_and_for_sound(script, music, recordings, tiny_mel, capsys):
    main = script("retrieval/clamp3_search.py").main
    for name in ("low.wav", "middle.ogg"):
        os.replace(recordings / name, music / name)
    query = str(music / "low.wav")
    flags = [str(music), "--model", str(tiny_mel), "--json", "--strict", "--keep_duplicates", "--kind", "all"]
    assert main([query, *flags]) == 1  # the features have another width
    answer = json.loads(capsys.readouterr().out)
    assert answer["results"][0]["name"] == "low.wav" and answer["results"][0]["score"] > 0.99999
    assert {hit["name"] for hit in answer["results"]} >= {"middle.ogg", "long.abc", "song.txt"}
    assert [failure["name"] for failure in answer["failures"]] == ["audio.npy"]
    assert main(["slow song", *flags]) == 1
    assert answer["n_references"] == json.loads(capsys.readouterr().out)["n_references"] == 6
