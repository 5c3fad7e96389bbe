"""The extraction scripts from outside: outputs, resume, refusals, several processes, death in the middle."""

import builtins
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from clamp3.cli import run
from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import ConfigError
from clamp3.models import registry, tokenizer
from clamp3.sources import digest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "code" / "extract_clamp3.py"


@pytest.fixture
def extract(script, tiny_weights):
    main = script("code/extract_clamp3.py").main
    return lambda *args: main([*map(str, args), "--model", str(tiny_weights)])


def arrays(folder):
    return {path.relative_to(folder).as_posix(): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def read_ledger(folder):
    """Return what came of the inputs."""
    rows = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines() if line.strip()]
    return [row for row in rows if row["status"] != "begun"]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_folder_becomes_a_folder_of_vectors(extract, music, tmp_path, tiny_weights, capsys):
    out = tmp_path / "out"
    assert extract(music, out, "--get_global") == 0
    assert "5 converted, 0 already done, 0 failed" in capsys.readouterr().out
    made = arrays(out)
    assert list(made) == ["audio.npy", "long.npy", "play.npy", "song.npy", "sub/tune.npy"]
    clamp3 = Clamp3.from_pretrained(tiny_weights)
    for name, source in (("song.npy", "song.txt"), ("sub/tune.npy", "sub/tune.ABC")):
        assert made[name].shape == (1, 24) and made[name].dtype == np.float32
        np.testing.assert_allclose(made[name][0], clamp3.encode([music / source]).vectors[0], atol=5e-6)
    rows = read_ledger(out)
    assert {row["input"] for row in rows} == {"audio.npy", "long.abc", "play.mtf", "song.txt", "sub/tune.ABC"}
    assert all(row["status"] == "ok" and row["sha256"] and row["task"].startswith("extract global") for row in rows)
    meta = json.loads((out / "features.json").read_text())
    assert meta["arrays"] == "global" and meta["dtype"] == "float32" and meta["weights"] in clamp3.identity
    assert not list(out.rglob("*.part"))


def test_hidden_states_without_the_flag(extract, music, tmp_path):
    assert extract(music, tmp_path / "out") == 0
    assert {name: array.shape for name, array in arrays(tmp_path / "out").items()} == {
        "audio.npy": (1, 17, 32),
        "long.npy": (1, 49, 32),  # 5 header lines, 42 bars, 2 wrapping patches (L:1/8 is no patch)
        "play.npy": (1, 22, 32),  # 20 lines, no two alike in a row, and 2 wrapping patches
        "song.npy": (1, 7, 32),  # <s> slow song </s> for piano </s>
        "sub/tune.npy": (1, 7, 32),
    }


def test_flags_may_stand_anywhere(script, music, tmp_path, tiny_weights):
    main = script("code/extract_clamp3.py").main
    weights = str(tiny_weights)
    orders = [
        ["--get_global", "--model", weights, str(music), str(tmp_path / "a")],
        [str(music), "--model", weights, "--get_global", str(tmp_path / "b")],
    ]
    assert [main(order) for order in orders] == [0, 0]
    assert not list(ROOT.glob("--get_global*"))
    first, second = arrays(tmp_path / "a"), arrays(tmp_path / "b")
    assert list(first) == list(second) and all((first[name] == second[name]).all() for name in first)


def test_a_second_run_does_what_is_missing_or_changed(extract, music, tmp_path, capsys):
    out = tmp_path / "out"
    extract(music, out, "--get_global")
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}
    (out / "long.npy").unlink()
    (out / "play.npy").write_bytes(b"torn")
    (music / "song.txt").write_text("fast jig", encoding="utf-8")
    capsys.readouterr()
    assert extract(music, out, "--get_global", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["ok"], summary["skipped"]) == (3, 2)
    changed = {path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {"long.npy", "play.npy", "song.npy"}


def test_a_bad_file_is_named_and_stops_nothing(extract, music, tmp_path, capsys):
    (music / "bad ;$(touch x) 'q'.mid").write_bytes(b"MThd garbage")
    (music / "empty.txt").write_bytes(b"")
    np.save(music / "pickled.npy", np.array([{"a": 1}], object), allow_pickle=True)
    out = tmp_path / "out"
    assert extract(music, out, "--get_global") == 1
    assert "5 converted, 0 already done, 3 failed" in capsys.readouterr().out
    failed = {row["input"]: row["reason"] for row in read_ledger(out) if row["status"] == "failed"}
    assert set(failed) == {"bad ;$(touch x) 'q'.mid", "empty.txt", "pickled.npy"} and all(failed.values())
    assert len(arrays(out)) == 5


def test_a_full_disk_is_the_reason_of_what_it_hits(extract, music, tmp_path, monkeypatch):
    from clamp3.jobs import outputs as library

    write = library.write_bytes

    def full(path, data, **options):
        if path.name == "long.npy":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data, **options)

    monkeypatch.setattr(library, "write_bytes", full)
    assert extract(music, tmp_path / "out", "--get_global") == 1
    failed = [(row["input"], row["reason"]) for row in read_ledger(tmp_path / "out") if row["status"] == "failed"]
    assert failed == [("long.abc", "No space left on device")] and len(arrays(tmp_path / "out")) == 4


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_names_of_any_bytes(extract, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / os.fsdecode(b"caf\xe9 'q' ;$(x).TXT")).write_text("slow song")
    assert extract(source, tmp_path / "out", "--get_global") == 0
    assert os.listdir(os.fsencode(tmp_path / "out")).count(b"caf\xe9 'q' ;$(x).npy") == 1


def test_an_output_of_content_that_is_gone_goes_too(extract, music, tmp_path):
    out = tmp_path / "out"
    extract(music, out, "--get_global")
    (music / "play.mtf").write_text("not MTF any more")
    assert extract(music, out, "--get_global") == 1
    assert "play.npy" not in arrays(out) and len(arrays(out)) == 4


def test_an_input_that_cannot_be_read_keeps_its_output(extract, music, tmp_path, monkeypatch):
    out = tmp_path / "out"
    extract(music, out, "--get_global")
    opened = builtins.open

    def refuse(path, *rest, **options):
        if str(path).endswith("play.mtf"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(path, *rest, **options)

    monkeypatch.setattr(builtins, "open", refuse)
    assert extract(music, out, "--get_global") == 1
    monkeypatch.undo()
    assert len(arrays(out)) == 5
    (music / "play.mtf").write_bytes(b"")
    assert extract(music, out, "--get_global") == 1
    assert "play.npy" not in arrays(out)


def test_a_single_file_and_its_folder_are_one_input(extract, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for words in ("slow song", "fast jig"):
        (source / "a.txt").write_text(words)
        assert extract(source / "a.txt" if words == "slow song" else source, out, "--get_global") == 0
    assert {row["root"] for row in read_ledger(out)} == {str(source.resolve())}


def test_a_file_of_that_name_that_is_not_ours_stays(extract, music, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "features.json").write_text('{"type": "FeatureCollection"}')
    with pytest.raises(ConfigError, match="give another output folder"):
        extract(music, out, "--get_global")
    assert json.loads((out / "features.json").read_text()) == {"type": "FeatureCollection"}


def test_one_stem_twice_keeps_both(extract, tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.txt").write_text("slow song")
    (source / "a.mtf").write_text("ticks_per_beat 480\nnote_on 0 0 60 64\n")
    assert extract(source, tmp_path / "out", "--get_global") == 0
    assert list(arrays(tmp_path / "out")) == ["a.mtf.npy", "a.txt.npy"]
    assert "one stem" in capsys.readouterr().out


def test_arrays_of_another_kind_or_model_are_not_mixed(extract, script, music, tmp_path, tiny_weights):
    out = tmp_path / "out"
    extract(music, out, "--get_global")
    before = arrays(out)
    with pytest.raises(ConfigError, match="arrays 'global', now 'temporal'"):
        extract(music, out)
    with pytest.raises(ConfigError, match="dtype 'float32', now 'bfloat16'"):
        extract(music, out, "--get_global", "--dtype", "bfloat16")
    other = tmp_path / "other.safetensors"
    other.write_bytes(tiny_weights.read_bytes())
    (tmp_path / "tokenizer.json").write_bytes(tiny_weights.with_name("tokenizer.json").read_bytes())
    with pytest.raises(ConfigError, match="weights 'tiny-"):
        script("code/extract_clamp3.py").main([str(music), str(out), "--get_global", "--model", str(other)])
    assert list(before) == list(arrays(out))


def test_files_of_unknown_origin_are_not_overwritten(extract, music, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "song.npy").write_bytes(b"mine")
    assert extract(music, out, "--get_global") == 1
    assert (out / "song.npy").read_bytes() == b"mine"
    assert [row["input"] for row in read_ledger(out) if row["status"] == "failed"] == ["song.txt"]


@pytest.mark.parametrize("case", ["ours", "edited", "killed"])
def test_a_late_twin_renames_the_first_output(extract, tmp_path, case):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.txt").write_text("slow song")
    extract(source, out, "--get_global")
    if case == "edited":
        np.save(out / "a.npy", np.zeros(3))
    if case == "killed":  # before the first row
        rows = (out / "ledger.jsonl").read_text().splitlines(keepends=True)
        (out / "ledger.jsonl").write_text("".join(rows[:-1]))
    (source / "a.mtf").write_text("ticks_per_beat 480\nnote_on 0 0 60 64\n")
    assert extract(source, out, "--get_global") == 0
    assert list(arrays(out)) == ["a.mtf.npy", *(["a.npy"] if case == "edited" else []), "a.txt.npy"]


@pytest.mark.parametrize("death", ["before the output", "after the output", "torn row"])
@pytest.mark.parametrize("edited", [False, True])
def test_an_output_without_its_row_is_known(extract, tmp_path, monkeypatch, death, edited):
    from clamp3.jobs import outputs as library

    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.txt").write_text("slow song")
    write = library.write_bytes

    def die(path, data, **options):
        if death == "after the output":
            write(path, data, **options)
        raise KeyboardInterrupt

    if death == "torn row":
        extract(source, out, "--get_global")
        with (out / "ledger.jsonl").open("r+b") as file:
            file.truncate(file.seek(-20, os.SEEK_END))
    else:
        monkeypatch.setattr(library, "write_bytes", die)
        with pytest.raises(KeyboardInterrupt):
            extract(source, out, "--get_global")
        monkeypatch.undo()
        assert read_ledger(out) == []
    if edited:
        (source / "a.txt").write_text("fast jig")
    assert extract(source, out, "--get_global") == 0
    assert extract(source, out, "--get_global") == 0
    assert list(arrays(out)) == ["a.npy"]
    rows = (out / "ledger.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["output_sha256"] == digest((out / "a.npy").read_bytes())


def test_a_file_put_where_a_killed_run_was_about_to_write_is_not_overwritten(extract, music, tmp_path, monkeypatch):
    from clamp3.jobs import outputs as library

    def die(path, data, **options):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr(library, "write_bytes", die)
    with pytest.raises(KeyboardInterrupt):
        extract(music / "song.txt", out, "--get_global")
    monkeypatch.undo()
    (out / "song.npy").write_bytes(b"mine")
    assert extract(music, out, "--get_global") == 1
    assert (out / "song.npy").read_bytes() == b"mine"


@pytest.mark.parametrize("case", ["missing", "empty", "same", "file"])
def test_wrong_folders_are_named(extract, music, tmp_path, case):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    source, out, match = {
        "missing": (tmp_path / "nowhere", tmp_path / "out", "cannot be read"),
        "empty": (tmp_path / "empty", tmp_path / "out", "holds no file"),
        "same": (music, music, "cannot be the output"),
        "file": (music, tmp_path / "file", "is a file"),
    }[case]
    with pytest.raises(ConfigError, match=match):
        extract(source, out)


def test_an_output_folder_inside_the_input_is_not_read(extract, music):
    assert extract(music, music / "features", "--get_global") == 0
    assert extract(music, music / "features", "--get_global") == 0
    assert len(arrays(music / "features")) == 5


def test_m3_features(script, music, tmp_path, capsys):
    import torch

    from clamp3.modalities.patches import encode
    from clamp3.models.config import DecoderConfig, M3Config, TowerConfig
    from clamp3.models.m3 import M3Model
    from clamp3.models.weights import load_m3, save_safetensors

    sizes = {"width": 32, "n_layers": 2, "n_heads": 4, "feed_forward": 64}
    config = M3Config(TowerConfig(**sizes, max_length=64), DecoderConfig(**{**sizes, "n_layers": 1}), patch_length=64)
    path = tmp_path / "m3.safetensors"
    save_safetensors(M3Model(config), config, path)
    main = script("code/extract_m3.py").main
    assert main([str(music), str(tmp_path / "states"), "--model", str(path)]) == 1  # text and audio are not for M3
    failed = {row["input"] for row in read_ledger(tmp_path / "states") if row["status"] == "failed"}
    assert failed == {"song.txt", "audio.npy"}
    assert main([str(music), str(tmp_path / "means"), "--model", str(path), "--get_global"]) == 1
    states, means = arrays(tmp_path / "states"), arrays(tmp_path / "means")
    assert list(states) == list(means) == ["long.npy", "play.npy", "sub/tune.npy"]
    codes = torch.from_numpy(encode((music / "sub" / "tune.ABC").read_text()))
    with torch.inference_mode():
        expected = load_m3(path).model.encoder(codes[None], None).numpy()
    np.testing.assert_allclose(states["sub/tune.npy"], expected, atol=5e-6)
    np.testing.assert_allclose(means["sub/tune.npy"], expected.mean(1), atol=5e-6)


def test_wrong_usage_exits_with_2(music, tmp_path):
    command = [sys.executable, str(SCRIPT), str(music), str(tmp_path / "out"), "--model", str(tmp_path / "absent.pth")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "absent.pth" in done.stderr and "Traceback" not in done.stderr


def many_texts(folder, n):
    folder.mkdir()
    for i in range(n):
        (folder / f"{i:03d}.txt").write_text(f"song {'slow ' * (i % 40)} {i}")
    return folder


def test_two_processes_do_each_file_once(tiny_weights, tmp_path):
    source, out = many_texts(tmp_path / "in", 60), tmp_path / "out"
    (source / "bad.mtf").write_text("no header")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(SCRIPT), str(source), str(out), "--get_global", "--model", str(tiny_weights)]
    ranks = [
        subprocess.Popen(
            command,
            env={
                **environment(),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in ranks]
    assert [process.returncode for process in ranks] == [1, 1]
    assert "60 converted, 0 already done, 1 failed" in outputs[0] and outputs[1] == ""
    rows = read_ledger(out)
    assert sorted(row["input"] for row in rows) == sorted(path.name for path in source.iterdir())
    assert len(arrays(out)) == 60


@pytest.mark.slow
def test_under_torchrun(tiny_weights, tmp_path):
    source, out = many_texts(tmp_path / "in", 40), tmp_path / "out"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
    command += [str(source), str(out), "--get_global", "--model", str(tiny_weights)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as launcher:
        try:
            printed = launcher.communicate(timeout=300)[0]
        finally:
            launcher.terminate()  # a launcher that is terminated ends its workers too
    assert launcher.returncode == 0
    assert "40 converted" in printed and len(read_ledger(out)) == 40 and len(arrays(out)) == 40


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_kill_9_then_the_same_command_again(tiny_weights, tmp_path):
    source, out = many_texts(tmp_path / "in", 400), tmp_path / "out"
    command = [sys.executable, str(SCRIPT), str(source), str(out), "--get_global", "--model", str(tiny_weights)]
    command += ["--batch_size", "1"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.npy"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done_before = len(list(out.glob("*.npy")))
    assert 20 <= done_before < 400
    for path in out.glob("*.npy"):
        assert np.load(path).shape == (1, 24)
    again = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    converted, already = (int(n) for n in re.match(r"(\d+) converted, (\d+) already", again.stdout).groups())
    assert converted + already == 400 and done_before - 1 <= already <= done_before + 1
    assert len(arrays(out)) == 400 and not list(out.glob(".clamp3-*"))
    assert {row["input"] for row in read_ledger(out)} == {path.name for path in source.iterdir()}


def test_a_text_without_a_tokenizer_costs_itself(script, music, tiny_weights, tmp_path, monkeypatch, capsys):
    weights = shutil.copy(tiny_weights, tmp_path / "tiny.safetensors")
    (music / "other.txt").write_text("fast dance")
    looked = []
    load = tokenizer.load_tokenizer
    monkeypatch.setattr(tokenizer, "load_tokenizer", lambda place: looked.append(place) or load(place))
    main = script("code/extract_clamp3.py").main
    assert main([str(music), str(tmp_path / "out"), "--get_global", "--model", str(weights)]) == 1
    assert list(arrays(tmp_path / "out")) == ["audio.npy", "long.npy", "play.npy", "sub/tune.npy"]
    failed = {row["input"]: row["reason"] for row in read_ledger(tmp_path / "out") if row["status"] == "failed"}
    assert set(failed) == {"song.txt", "other.txt"} and len(looked) == 1
    assert all("without a tokenizer; name its folder with --text_model" in reason for reason in failed.values())


@pytest.fixture
def own_training(tiny_weights, tmp_path, monkeypatch):
    """Return a folder with two runs, as after trainings there; released names of config.py are as shipped."""
    monkeypatch.syspath_prepend(str(ROOT / "code"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "hub_file", lambda *a, **k: pytest.fail("the network was asked"))
    for name in ("old", "new"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        shutil.copy(tiny_weights.parent / "tokenizer.json", tmp_path / "runs" / name)
        for file in ("best.safetensors", "epoch_0005.safetensors"):
            shutil.copy(tiny_weights, tmp_path / "runs" / name / file)
    os.utime(tmp_path / "runs/old/best.safetensors", (1, 1))
    return tmp_path


def test_ones_own_training_is_found(script, music, own_training, caplog, monkeypatch):
    """As the released readme has it: extraction after one's own training, with or without an epoch."""
    import config

    caplog.set_level("INFO")
    main = script("code/extract_clamp3.py").main
    assert main(["--epoch", "5", str(music), "features", "--get_global"]) == 0
    assert "weights: runs/new/epoch_0005.safetensors, the newest training here; --model takes others" in caplog.text
    assert json.loads(Path("features/features.json").read_text())["weights"].startswith("epoch_0005-")
    assert main([str(music), "best", "--get_global"]) == 0
    monkeypatch.setattr(config, "CLAMP3_WEIGHTS_PATH", "runs/old")
    assert main([str(music), "named", "--get_global"]) == 0
    assert "weights: runs/old/best.safetensors, as CLAMP3_WEIGHTS_PATH in config.py says" in caplog.text
    Path("runs/new").rename("runs/symbolic_clamp3_mine")  # what train_clamp3_symbolic.py makes of this released name:
    monkeypatch.setattr(config, "CLAMP3_WEIGHTS_PATH", "weights_clamp3_mine.pth")
    assert main([str(music), "released", "--get_global"]) == 0
    assert "weights: runs/symbolic_clamp3_mine/best.safetensors" in caplog.text


def test_what_is_absent_is_named_without_an_address(script, music, own_training, monkeypatch, capsys):
    import config

    main = script("code/extract_clamp3.py").main

    def error_of(*flags):
        assert run(lambda: main([*flags, str(music), "features", "--get_global"])) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "http" not in line
        return line

    assert "no checkpoint of epoch 6" in (line := error_of("--epoch", "6")) and "epoch_0005.safetensors" in line
    monkeypatch.setattr(config, "CLAMP3_WEIGHTS_PATH", "weights_clamp3_mine.pth")
    assert "CLAMP3_WEIGHTS_PATH in config.py names weights_clamp3_mine.pth" in error_of()
    monkeypatch.setattr(config, "CLAMP3_WEIGHTS_PATH", "c2")
    assert "no checkpoint of epoch 5 of 'c2'" in error_of("--epoch", "5")
    monkeypatch.setattr(config, "CLAMP3_WEIGHTS_PATH", "")
    shutil.rmtree("runs")
    assert "no checkpoint of epoch 5 of 'saas'" in error_of("--epoch", "5")
