"""Exported towers: numbers of the weights they come from, honest identities, and a folder that is whole."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_tokenizer import write_tokenizer

from clamp3 import cli, commands
from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import ConfigError, DataError, WeightsError
from clamp3.export import parity
from clamp3.formats import Kind
from clamp3.jobs.cached import cached, clear
from clamp3.jobs.identity import Identity
from clamp3.models import onnx_graph
from clamp3.models.config import Clamp3Config, FrontEndConfig, M3Config, TowerConfig
from clamp3.models.onnx_folder import export, read_export

pytest.importorskip("onnxruntime")

TUNE = (b"X:1\nT:The Kesh\nM:6/8\nK:G\nGAG GAB|ABA ABd|edd gdd|edB dBA|\n", Kind.ABC)
LONG = (TUNE[0] + b"GAG GAB|ABA ABd|edd gdd|edB dBA|\n" * 12, Kind.ABC)
SMALL = {"width": 32, "n_layers": 1, "n_heads": 2, "feed_forward": 64, "dropout": 0.0}


def sound(seconds=3.0):
    generator = np.random.default_rng(1)
    return generator.normal(0, 0.1, int(24_000 * seconds)).astype(np.float32), 24_000


INPUTS = ["a slow jig", "fast", TUNE, LONG, sound(), sound(7.3)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Write a model of every tower with windows so short that the inputs have several."""
    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.weights import save_safetensors

    folder = tmp_path_factory.mktemp("weights")
    config = Clamp3Config(
        text=TowerConfig(**SMALL, max_length=20, vocab_size=40, type_vocab_size=1, pad_id=1),
        symbolic=TowerConfig(**SMALL, max_length=9),
        audio=TowerConfig(**SMALL, max_length=4),
        hidden_size=16,
        text_length=16,
        symbolic_length=9,
        audio_length=4,
        front_end=FrontEndConfig(kind="mel", channels=16),
    )
    write_tokenizer(folder)
    model = Clamp3Model(config, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for part in model.parameters():
            part.mul_(8 if part.ndim == 2 else 1)  # vectors that differ from input to input
    save_safetensors(model, config, folder / "small.safetensors")
    return folder / "small.safetensors"


@pytest.fixture(scope="module")
def exports(weights, tmp_path_factory):
    place = tmp_path_factory.mktemp("exports")
    export(weights, place / "float32")
    export(weights, place / "int8", towers=("text", "symbolic"), int8=onnx_graph.Int8())
    return place


def cosines(left, right):
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


@pytest.mark.parametrize(("precision", "goal"), [("float32", 0.99999), ("int8", 0.98)])
def test_same_interface_and_vectors(weights, exports, precision, goal):
    model = Clamp3.from_pretrained(exports / precision, backend="onnx")
    inputs = INPUTS if model.lacks("audio") is None else INPUTS[:4]
    expected, found = Clamp3.from_pretrained(weights).encode(inputs), model.encode(inputs)
    assert not expected.errors and not found.errors
    assert cosines(found.vectors, expected.vectors).min() > goal
    # Of other batches the same: padding does not count, whatever the length.
    alone = np.concatenate([model.encode([item], batch_size=1).vectors for item in inputs])
    assert cosines(alone, found.vectors).min() > goal
    assert abs(cosines(expected.vectors[:1], expected.vectors[2:3])[0]) < 0.9, "the vectors could not be confused"


def test_hidden_states(weights, exports):
    expected = Clamp3.from_pretrained(weights).encode(INPUTS[:4], temporal=True).temporal
    found = Clamp3.from_pretrained(exports / "float32", backend="onnx").encode(INPUTS[:4], temporal=True).temporal
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_allclose(left, right, atol=2e-5)  # float32 sums in another order


def test_identities_keep_8_bits_apart(weights, exports):
    torch_, float_, int8 = (
        Identity.parse(model.identity)
        for model in (
            Clamp3.from_pretrained(weights),
            Clamp3.from_pretrained(exports / "float32", backend="onnx"),
            Clamp3.from_pretrained(exports / "int8", backend="onnx"),
        )
    )
    assert (torch_.dtype, float_.dtype, int8.dtype) == ("float32", "onnx_float32", "onnx_int8")
    assert torch_.space == float_.space != int8.space
    assert str(Identity.parse(str(int8))) == str(int8)


def test_int8_vectors_are_refused_beside_float_ones(weights, exports, tmp_path):
    from clamp3.index.vectors import load_folder

    np.save(tmp_path / "a.npy", np.ones((1, 16), np.float32))
    meta = {"arrays": "global", "weights": Identity.parse(Clamp3.from_pretrained(weights).identity).space}
    (tmp_path / "features.json").write_text(json.dumps({**meta, "dtype": "float32", "preprocessing": "3"}))
    (tmp_path / "b.abc").write_bytes(TUNE[0])
    load_folder(tmp_path, lambda: Clamp3.from_pretrained(exports / "float32"))
    with pytest.raises(DataError, match="mixes vectors of different weights"):
        load_folder(tmp_path, lambda: Clamp3.from_pretrained(exports / "int8"))


def test_the_folder_says_all_that_is_needed(weights, exports):
    onnxruntime = pytest.importorskip("onnxruntime")
    from clamp3.models.tokenizer import load_tokenizer

    folder = exports / "float32"
    stated = json.loads((folder / "clamp3_onnx.json").read_text())
    text = stated["towers"]["text"]
    ids = load_tokenizer(folder).encode("a slow jig")
    rows = np.full((2, len(ids) + 3), text["pad"], text["type"])
    rows[:, : len(ids)] = ids
    mask = (np.arange(len(ids) + 3) < len(ids)).astype(np.int64)[None].repeat(2, 0)
    session = onnxruntime.InferenceSession(folder / text["file"])
    (vectors,) = session.run(["vector"], {text["input"]: rows, "attention_mask": mask})
    expected = Clamp3.from_pretrained(weights).encode(["a slow jig"]).vectors
    np.testing.assert_allclose(vectors, expected.repeat(2, 0), atol=1e-5)
    assert stated["opset"] == onnx_graph.OPSET
    assert (text["window"], text["shape"]) == (16, ["batch", "length"])
    assert "mean" in text["pooling"]


def test_the_example_of_the_page_needs_nothing_of_ours(exports, tmp_path, monkeypatch):
    page = Path(__file__).resolve().parents[2] / "docs" / "export.md"
    code = next(block for block in page.read_text(encoding="utf-8").split("```python")[1:] if "onnxruntime" in block)
    code = code.partition("```")[0]
    assert "clamp3." not in code.replace("clamp3_onnx.json", "")
    (tmp_path / "exported").symlink_to(exports / "float32")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    expected = Clamp3.from_pretrained(exports / "float32").encode(["an Irish jig"]).vectors[0]
    np.testing.assert_allclose(names["vector"], expected, atol=1e-5)


def test_a_folder_is_embedded_with_an_exported_folder(exports, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.txt").write_text("a slow jig")
    assert run("embed", tmp_path / "in", tmp_path / "out", "--model", exports / "int8", "--get_global") == 0
    meta = json.loads((tmp_path / "out" / "features.json").read_text())
    assert meta["dtype"] == "onnx_int8" and "-int8-" in meta["weights"]


def test_opset_and_free_sizes(exports):
    onnx = pytest.importorskip("onnx")
    for name, rank in (("text", 2), ("symbolic", 3)):
        model = onnx.load(exports / "float32" / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert {opset.version for opset in model.opset_import if not opset.domain} == {onnx_graph.OPSET}
        shape = [size.dim_param for size in model.graph.input[0].type.tensor_type.shape.dim]
        assert shape[:2] == ["batch", "length"] and len(shape) == rank
        small = (exports / "int8" / f"{name}.onnx").stat().st_size
        assert small < (exports / "float32" / f"{name}.onnx").stat().st_size


def test_changed_and_absent_files_are_named(exports, tmp_path):
    import shutil

    folder = shutil.copytree(exports / "float32", tmp_path / "copy")
    with (folder / "text.onnx").open("ab") as file:
        file.write(b"\0")
    (folder / "audio.onnx").unlink()
    model = Clamp3.from_pretrained(folder, backend="onnx")
    with pytest.raises(WeightsError, match=r"text\.onnx was changed"):
        model.encode(["a jig"])
    with pytest.raises(WeightsError, match=r"audio\.onnx is absent"):
        model.encode([sound()])
    assert model.encode([TUNE]).ok.all()
    with pytest.raises(WeightsError, match="changed"):
        model.confirm()
    (folder / "clamp3_onnx.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"clamp3_onnx\.json"):
        Clamp3.from_pretrained(folder, backend="onnx")


def test_a_failed_export_leaves_nothing(weights, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise WeightsError("no.")

    monkeypatch.setattr(onnx_graph, "export_tower", fail)
    with pytest.raises(WeightsError):
        export(weights, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_weights_are_exported_on_the_fly_once(weights, monkeypatch, tmp_path):
    from clamp3.models.slim import write_slim

    monkeypatch.setenv("CLAMP3_CACHE", str(tmp_path / "cache"))
    write_slim(weights, tmp_path / "text", towers=["text"])
    calls = []
    real = onnx_graph.export_tower
    monkeypatch.setattr(onnx_graph, "export_tower", lambda *args, **options: (calls.append(1), real(*args, **options)))
    for _ in range(2):
        model = Clamp3.from_pretrained(tmp_path / "text", backend="onnx", dtype="int8")
    assert model.encode(["a jig"]).ok.all() and len(calls) == 1
    assert Identity.parse(model.identity).dtype == "onnx_int8"
    kept = cached()
    assert len(kept["exports"].files) == 3 and not kept["other"].files
    assert clear()["exports"] == 3
    assert Clamp3.from_pretrained(tmp_path / "text", backend="onnx", dtype="int8").encode(["a jig"]).ok.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat16"}, "auto, float32 or int8"),
        ({"dtype": "int8"}, "holds towers in float32"),
        ({"device": "cuda"}, "run on the cpu"),
        ({"backend": "openvino"}, "choose torch or onnx"),
    ],
)
def test_wrong_options_of_the_backend(exports, options, message):
    with pytest.raises(ConfigError, match=message):
        Clamp3.from_pretrained(exports / "float32", **{"backend": "onnx", **options})


def test_it_stays_on_the_cpu(exports):
    model = Clamp3.from_pretrained(exports / "float32")
    assert model.device == "cpu" and model.to("cpu").encode(["a jig"]).ok.all()
    with pytest.raises(ConfigError, match="run on the cpu"):
        model.to("meta")
    assert model.encode(["a jig"]).ok.all()


def test_exported_folder_without_the_backend(exports):
    assert Clamp3.from_pretrained(exports / "float32").identity.startswith("small-")
    with pytest.raises(WeightsError, match="holds towers exported to ONNX; weights are needed here"):
        Clamp3.from_pretrained(exports / "float32", backend="torch")


def test_int8_needs_the_backend(weights):
    with pytest.raises(ConfigError, match="int8"):
        Clamp3.from_pretrained(weights, dtype="int8")


def test_missing_packages(monkeypatch, weights, tmp_path):
    monkeypatch.setattr(onnx_graph.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"onnx and onnxruntime and onnxscript: pip install 'clamp3\[onnx\]'"):
        export(weights, tmp_path / "new")


def test_m3(tmp_path):
    from clamp3.models.m3 import M3Model
    from clamp3.models.weights import save_safetensors

    config = M3Config(
        TowerConfig(**SMALL, max_length=9),
        patch_length=9,
        decoder=dataclasses.replace(M3Config().decoder, width=32, n_layers=1, n_heads=2, feed_forward=64),
    )
    save_safetensors(M3Model(config, generator=torch.Generator().manual_seed(1)), config, tmp_path / "m3.safetensors")
    export(tmp_path / "m3.safetensors", tmp_path / "out")
    compared = parity.Comparison(tmp_path / "m3.safetensors", tmp_path / "out")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "tune.abc").write_bytes(LONG[0])
    report = parity.measure(compared, inputs=tmp_path / "in")
    assert report["towers"]["symbolic"]["reached"] and report["towers"]["symbolic"]["inputs"] == 1


def run(*words):
    return cli.run(lambda: commands.main([str(word) for word in words]))


def test_command_writes_and_compares(weights, tmp_path, capsys):
    inputs = tmp_path / "in"
    inputs.mkdir()
    records = []
    for number, notes in enumerate(("GAG GAB", "c2c BAG", "A,B,C D2E")):
        (inputs / f"{number}.abc").write_text(f"X:1\nM:6/8\nK:G\n{notes}|{notes}|\n")
        records.append({"title": f"a slow song {number}", "filepaths": [f"{number}.abc"]})
    (inputs / "records.jsonl").write_text("\n".join(map(json.dumps, records)))
    (inputs / "one.txt").write_text("a sad waltz for piano")
    out = tmp_path / "out"
    words = ("export", out, "--model", weights, "--tower", "text,symbolic", "--inputs", inputs)
    assert run(*words, "--records", inputs / "records.jsonl") == 0
    printed = capsys.readouterr().out
    report = json.loads((out / "parity.json").read_text())
    assert report["towers"]["text"]["least_cosine"] >= report["towers"]["text"]["goal"] == 0.99999
    assert report["retrieval"]["text to abc"]["queries"] == 3
    assert sorted(path.name for path in out.iterdir()) == [
        "clamp3_onnx.json", "parity.json", "symbolic.onnx", "text.onnx", "tokenizer.json",
    ]  # fmt: skip
    assert "text to abc" in printed and "goal" in printed
    before = (out / "clamp3_onnx.json").read_bytes()
    assert run(*words) == 2
    assert "not empty" in capsys.readouterr().err
    assert (out / "clamp3_onnx.json").read_bytes() == before
    assert (
        run(*words[:2], "--model", weights, "--tower", "text", "--quantize", "int8", "--overwrite", "--no_parity") == 0
    )
    assert read_export(out).precision == "int8"
    assert sorted(path.name for path in out.iterdir()) == ["clamp3_onnx.json", "text.onnx", "tokenizer.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tower", "video"), "no video tower"),
        (("--to", "safetensors", "--quantize", "int8"), "for --to onnx"),
        (("--reduce_range",), "for --quantize"),
        (("--inputs", "nowhere"), "nowhere"),
        (("--model", "nowhere.pth"), "nowhere.pth"),
    ],
)
def test_wrong_flags(tmp_path, capsys, words, message):
    assert run("export", tmp_path / "out", *words) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
