"""The scripts of classification: faults of the released ones, exit codes, what is loaded for --help."""

import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from clamp3.cli import run
from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE

SCRIPTS = ("train_cls", "inference_cls", "zero_shot_cls", "benchmark")


@pytest.fixture
def features(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "features"
    (folder / "sub").mkdir(parents=True)
    for place, name in enumerate(("jazz", "pop")):
        for i in range(12):
            vector = rng.standard_normal((1, 6)) + 4 * np.eye(6)[place]
            np.save(folder / ("sub" if i % 2 else "") / f"{name}_{i}.npy", vector.astype(np.float32))
    return folder


QUICK = ("--num_epochs", "20", "--learning_rate", "0.01")


def call(script, name, *arguments):
    main = script(f"classification/{name}.py").main
    return run(lambda: main([str(argument) for argument in arguments]))


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_quick(name, request):
    root = request.config.rootpath
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        "try: runpy.run_path(sys.path.pop(), run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'sklearn', 'matplotlib', 'mir_eval', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    path = root / "classification" / f"{name}.py"
    code = f"import sys; sys.path.append({str(path)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "python classification/" in done.stdout


def test_train_then_tell(script, features, tmp_path, capsys):
    weights, report = tmp_path / "weights.pth", tmp_path / "report"
    arguments = ("--train_folder", features, *QUICK, "--output", weights, "--report", report, "--json")
    assert call(script, "train_cls", *arguments) == EXIT_OK
    result = json.loads(capsys.readouterr().out)
    assert result["classes"] == ["jazz", "pop"]
    assert result["summary"]["accuracy"]["mean"] > 0.7
    assert sorted(path.name for path in report.iterdir()) == ["confusion.png", "history.png", "report.json"]

    output = tmp_path / "output.json"
    assert call(script, "inference_cls", weights, features, output) == EXIT_OK
    answers = json.loads(output.read_text(encoding="utf-8"))
    assert len(answers) == 24
    name = (features / "sub" / "pop_1.npy").as_posix()
    assert answers[name]["label"] == "pop"
    assert sum(answers[name]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert call(script, "inference_cls", weights, features, output, "--labels_only") == EXIT_OK
    assert json.loads(output.read_text(encoding="utf-8"))[name] == "pop"


def test_no_training_folder_is_wrong_usage(script, capsys):
    """The released script ends with AttributeError."""
    with pytest.raises(SystemExit) as end:
        call(script, "train_cls")
    assert end.value.code == EXIT_USAGE
    assert "--train_folder" in capsys.readouterr().err
    assert call(script, "train_cls", "--train_folder", "/no/such/folder") == EXIT_USAGE


def test_balanced_training_and_unseen_labels_do_not_crash(script, features, tmp_path, capsys):
    (tmp_path / "test").mkdir()
    for name in ("jazz_x", "polka_x"):
        np.save(tmp_path / "test" / f"{name}.npy", np.ones((1, 6), np.float32))
    arguments = ("--train_folder", features, "--eval_folder", tmp_path / "test", "--balanced_training", *QUICK)
    assert call(script, "train_cls", *arguments, "--output", tmp_path / "w.safetensors") == EXIT_OK
    assert "1 of the judged files are of classes that were not trained" in capsys.readouterr().out


def test_the_softmax_comes_once_unless_asked_for_twice(script, features, tmp_path, capsys):
    def losses(*flags):
        arguments = ("--train_folder", features, *QUICK, "--output", tmp_path / "w.pth", "--json", *flags)
        assert call(script, "train_cls", *arguments) == EXIT_OK
        result = json.loads(capsys.readouterr().out)
        return result["config"]["double_softmax"], result["runs"][0]["n_valid"], result["runs"][0]["history"][-1][0]

    once, n_valid, loss = losses()
    assert (once, n_valid) == (False, 4)
    assert loss < 0.3
    twice, n_valid, loss = losses("--published")
    assert (twice, n_valid) == (True, 5)  # ceil(.2 * 24), which are also those that are tested
    assert loss > np.log(1 + np.exp(-1))  # what two softmaxes cost at least
    assert losses("--double_softmax")[:2] == (True, 4)


def test_classes_do_not_depend_on_the_order_of_files(script, features, tmp_path, capsys):
    """The released script numbers them in the order of a set, which differs per process."""
    arguments = ("--train_folder", features, "--num_epochs", "2", "--output", tmp_path / "w.pth", "--json")
    results = []
    for _ in range(2):
        call(script, "train_cls", *arguments)
        results.append(capsys.readouterr().out)
    assert results[0] == results[1]


def test_a_file_without_label_is_left_out_with_exit_code_one(script, features, tmp_path, capsys):
    np.save(features / "nolabel.npy", np.ones((1, 6), np.float32))
    arguments = ("--train_folder", features, "--num_epochs", "1", "--output", tmp_path / "w.pth")
    assert call(script, "train_cls", *arguments) == EXIT_SOME_FAILED
    assert "left out: nolabel.npy: has no label" in capsys.readouterr().err


def test_other_files_are_not_overwritten(script, features, tmp_path, capsys):
    (tmp_path / "weights.pth").write_bytes(b"something else")
    arguments = ("--train_folder", features, "--num_epochs", "1", "--output", tmp_path / "weights.pth")
    assert call(script, "train_cls", *arguments) == EXIT_USAGE
    assert (tmp_path / "weights.pth").read_bytes() == b"something else"


def test_no_permission_is_said_before_the_training(script, features, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    arguments = ("--train_folder", features, "--num_epochs", "1", "--output", tmp_path / "new" / "weights.pth")
    assert call(script, "train_cls", *arguments) == EXIT_USAGE
    assert "weights.pth cannot be written: no permission" in capsys.readouterr().err


def test_raw_music_is_told_without_training(script, tiny_weights, music, tmp_path, capsys):
    arguments = (music, "--classes", "jig", "waltz", "--axis", "fast", "slow", "--model", tiny_weights, "--json")
    code = call(script, "zero_shot_cls", *arguments, "--output", tmp_path / "a.json")
    result = json.loads(capsys.readouterr().out)
    assert code == EXIT_OK
    assert result == json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert set(result["files"]) == {"audio.npy", "long.abc", "play.mtf", "song.txt", "sub/tune.ABC"}
    assert set(result["files"]["long.abc"]["scores"]) == {"jig", "waltz"}
    assert -2 <= result["files"]["long.abc"]["axes"]["fast - slow"] <= 2


def test_raw_music_trains_a_probe(script, tiny_weights, tmp_path, capsys):
    for place, name in enumerate(("low", "high")):
        for i in range(6):
            note = f"{'CDEFGA'[i]}{',' if place == 0 else chr(39)}"
            text = f"L:1/8\nM:2/4\nK:C\nV:1 treble\n[V:1]{note}2{note}2|\n[V:1]{note}4|]\n"
            (tmp_path / "music").mkdir(exist_ok=True)
            (tmp_path / "music" / f"{name}_{i}.abc").write_text(text, encoding="utf-8")
    arguments = ("--train_folder", tmp_path / "music", "--model", tiny_weights, *QUICK, "--output", tmp_path / "w.pth")
    assert call(script, "train_cls", *arguments) == EXIT_OK
    arguments = ("inference_cls", tmp_path / "w.pth", tmp_path / "music", tmp_path / "o.json")
    assert call(script, *arguments, "--model", tiny_weights) == EXIT_OK
    assert len(json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))) == 12
    assert call(script, *arguments, "--model", "mini") == EXIT_SOME_FAILED
    assert "the probe was trained on vectors of tiny-" in capsys.readouterr().err


def test_a_benchmark_that_is_not_there_says_where_to_get_it(script, tmp_path, capsys):
    assert call(script, "benchmark", "gtzan", "--data", tmp_path) == EXIT_USAGE
    assert "Get GTZAN from https://" in capsys.readouterr().err


@pytest.fixture
def vgmidi_folder(request):
    data = request.config.rootpath.parent / "shared" / "data" / "vgmidi"
    if not data.is_dir():
        pytest.skip("needs ../shared/data/vgmidi")
    return data


@pytest.mark.shared
def test_the_real_vgmidi_is_read(vgmidi_folder):
    from clamp3.datasets.vgmidi import read

    examples, left_out = read(vgmidi_folder)
    emotions = [example.label for example in examples]
    assert all(example.source is not None for example in examples)
    assert (len(examples), len(left_out)) == (197, 7)  # of 204 MIDI files
    assert {name: emotions.count(name) for name in sorted(set(emotions))} == {
        "angry": 38,
        "calm": 59,
        "happy": 75,
        "sad": 25,
    }


@pytest.mark.shared
def test_vgmidi_end_to_end(script, vgmidi_folder, tmp_path, capsys):
    """Real files: MIDI to MTF to vectors to a probe, beside the published rows; every fifth piece, for speed."""
    lines = (vgmidi_folder / "vgmidi_labelled.csv").read_text(encoding="utf-8").splitlines()
    data = tmp_path / "vgmidi"
    (data / "labelled" / "midi").mkdir(parents=True)
    (data / "vgmidi_labelled.csv").write_text("\n".join([lines[0], *lines[1::5]]), encoding="utf-8")
    for line in lines[1::5]:
        name = line.split(",")[5].rsplit("/", 1)[1].rpartition("_")[0] + ".mid"
        source = vgmidi_folder / "labelled" / "midi" / name
        (data / "labelled" / "midi" / name).write_bytes(source.read_bytes())
    arguments = ("vgmidi", "--data", data, "--model", "mini", "--num_epochs", "100", "--seeds", "2")
    assert call(script, "benchmark", *arguments, "--json", tmp_path / "r.json") == EXIT_OK
    out = capsys.readouterr().out
    scores = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["scores"]
    assert [score["protocol"] for score in scores] == ["published protocol", "epoch by validation"]
    assert scores[0]["runs"][0]["n_train"] + scores[0]["runs"][0]["n_judged"] == len(lines[1::5])
    assert scores[0]["summary"]["accuracy"]["mean"] > 0.25
    assert "saas_c2" in out and "mini, published protocol, 2 seeds" in out


def test_the_probe_is_named_after_its_folder_and_never_replaced(script, features, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ("--train_folder", "features/", *QUICK, "--wandb_key", "<your_wandb_key>")
    assert call(script, "train_cls", *arguments) == EXIT_OK
    made = (tmp_path / "weights-features.pth").read_bytes()
    assert call(script, "train_cls", *arguments) == EXIT_USAGE
    assert "weights-features.pth exists; move it away, or name the probe by --output." in capsys.readouterr().err
    assert (tmp_path / "weights-features.pth").read_bytes() == made
    assert call(script, "inference_cls", "weights-features.pth", "features", "output.json") == EXIT_OK
    answers = json.loads((tmp_path / "output.json").read_text(encoding="utf-8"))
    assert len(answers) == 24 and all(answer["label"] in ("jazz", "pop") for answer in answers.values())


def test_epochs_are_logged_to_wandb_if_asked_for(script, features, tmp_path, monkeypatch, capsys):
    rows, facts = [], {}

    class FakeRun:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            facts["finished"] = True

        def log(self, row, step):
            rows.append((step, row))

    def init(**options):
        facts.update(options, key=os.environ.get("WANDB_API_KEY"))
        return FakeRun()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    monkeypatch.setenv("WANDB_API_KEY", "")
    flags = ("--output", tmp_path / "w.pth", "--wandb_log", "--wandb_key", "secret")
    assert call(script, "train_cls", "--train_folder", features, "--num_epochs", "3", *flags) == EXIT_OK
    assert [step for step, _ in rows] == [1, 2, 3] and set(rows[0][1]) == {"loss", "score", "rate"}
    assert facts["finished"] and (facts["project"], facts["name"], facts["key"]) == ("linear", "w", "secret")
    assert "secret" not in "".join(capsys.readouterr())
