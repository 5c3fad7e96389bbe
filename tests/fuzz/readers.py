"""The readers of files of ours: ledgers, states, settings, arrays, weights, caches, indexes of training."""

from __future__ import annotations

import functools
import io
import json
import sqlite3
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from harness import reader

ROW = {"input": "a.x", "status": "ok", "output": "a.y", "seconds": 0.1, "sha256": "ab",
       "output_sha256": "cd", "task": "t", "root": "/x", "notes": ["n"]}  # fmt: skip
LEDGER = b"".join(json.dumps({**ROW, "input": f"{n}.x", "output": f"{n}.y"}).encode() + b"\n" for n in range(4))
BEGUN = json.dumps({**ROW, "status": "begun"}).encode() + b"\n" + json.dumps({**ROW, "status": "failed"}).encode()


def npy(array, **how):
    stream = io.BytesIO()
    np.save(stream, array, **how)
    return stream.getvalue()


@reader(LEDGER, BEGUN)
def ledger(folder, data):
    from clamp3.jobs.outputs import OutputFolder

    source = folder / "in"
    source.mkdir()
    (source / "0.x").write_bytes(b"one")
    (folder / "out").mkdir()
    (folder / "out" / "ledger.jsonl").write_bytes(data)
    with OutputFolder(folder / "out", source, task="t") as out:
        from pathlib import PurePosixPath

        out.begin({PurePosixPath("0.x"): PurePosixPath("0.y")})
        if not out.is_done("0.x", "ab"):
            row = out.row("0.x", "ok", sha256="ab")
            out.record(out.write(row, b"made"))
    assert (folder / "out" / "0.y").read_bytes() == b"made"
    assert {path.name for path in folder.iterdir()} == {"in", "out"}


@reader(b'{"arrays": "global", "weights": "mini-0123456789ab", "dtype": "float32", "preprocessing": "1"}')
def features_json(folder, data):
    from clamp3.index.vectors import load_folder

    (folder / "features.json").write_bytes(data)
    np.save(folder / "a.npy", np.ones(4, np.float32))
    load_folder(folder)


@reader(b'{"a": {"settings": 1, "seconds": 0.1, "result": 2}, "b": {"settings": [1], "seconds": 1, "result": null}}')
def steps(folder, data):
    from clamp3.jobs.steps import Step, run_steps

    (folder / "state.json").write_bytes(data)
    list(run_steps(folder / "state.json", [Step("a", 1, lambda: 1), Step("c", 5, lambda: float("nan"))]))
    json.loads((folder / "state.json").read_text(), parse_constant=lambda _: 1 / 0)


@reader(b'{"a.abc": "jig", "b.abc": "reel"}', b'{"a.abc": ["x", "y"], "b": {"x": 1}}', b'{"a": [1.5, 2], "b": [0, 1]}',
        b"file,label\na.abc,jig\nb.abc,reel\n", b"file,x,y\na,0,1\nb,1,0\n",
        b'{"id": "a", "genre": "x"}\n{"id": "b"}')  # fmt: skip
def labels(folder, data):
    from clamp3.errors import Clamp3Error
    from clamp3.formats.tables import json_text
    from clamp3.probe.labels import read_labels
    from clamp3.probe.zero_shot import read_prompts
    from clamp3.retrieval.projection import labels_of, read_metadata

    readers = [lambda path, task=task: read_labels(path, task) for task in ("multiclass", "multilabel", "regression")]
    readers += [read_prompts, lambda path: labels_of(["a"], "genre", read_metadata(path))]
    last = None
    for suffix in (".json", ".csv", ".jsonl"):
        path = folder / f"t{suffix}"
        path.write_bytes(data)
        for read in readers:
            try:
                json_text(read(path)).encode()
            except Clamp3Error as error:
                last = error
    if last is not None:
        raise last


@reader(LEDGER.replace(b"0.y", b"o.jsonl#1"))
def metadata_store(folder, data):
    from clamp3.metadata.store import Store

    (folder / "o.jsonl").write_bytes(b'{"id": "a"}\n{"id": "b"}\n')
    (folder / "o.ledger.jsonl").write_bytes(data)
    (folder / "o.provenance.jsonl").write_bytes(data)
    with Store(folder / "o.jsonl", ["0.x", "b"]):
        pass


CONFIG = {"model_type": "xlm-roberta", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
          "intermediate_size": 8, "max_position_embeddings": 34, "vocab_size": 37}  # fmt: skip


@reader(json.dumps(CONFIG).encode())
def text_config(folder, data):
    from clamp3.models.sizes import text_tower_of

    (folder / "config.json").write_bytes(data)
    text_tower_of(folder)


MERT = {"model_type": "mert_model", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "conv_dim": [4, 4], "conv_stride": [2, 2], "conv_kernel": [3, 3], "intermediate_size": 8}  # fmt: skip


@reader(json.dumps(MERT).encode())
def mert_config(folder, data):
    from clamp3.models.mert import _architecture

    (folder / "config.json").write_bytes(data)
    _architecture(folder / "config.json")


def _tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: n for n, word in enumerate(("<s>", "<pad>", "</s>", "<unk>", "jig"))}
    found = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return found.to_str().encode()


@reader(_tokenizer(), b'{"sep_token": "</s>", "pad_token": {"content": "<pad>"}}', weight=0.5)
def tokenizer(folder, data):
    from clamp3.models.tokenizer import load_tokenizer

    (folder / "tokenizer_config.json").write_bytes(data)
    (folder / "tokenizer.json").write_bytes(data if b'"model"' in data else _tokenizer())
    load_tokenizer(folder).encode("a jig")


@reader(
    npy(np.ones((1, 8), np.float32)), npy(np.ones(8)), npy(np.ones((2, 3, 4), "<i2")), npy(np.asfortranarray(np.eye(3)))
)
def array(folder, data):
    from clamp3.formats.arrays import read_array

    found = read_array(data, "a.npy")
    assert np.isfinite(found.astype(np.float32)).all()


@reader(npy(np.ones((1, 5, 4), np.float32)), npy(np.asfortranarray(np.ones((5, 4)))))
def audio_features(folder, data):
    from clamp3.data.audio_features import open_features
    from clamp3.data.shards import Location

    (folder / "a.npy").write_bytes(data)
    files = open_features([Location(str(folder / "a.npy"))], 4)
    if files.length(0) > 0:
        assert np.isfinite(files.read(0, slice(0, 10))).all()


@reader(
    b"".join(json.dumps({"id": f"p{n}", "title": "T", "filepaths": [f"{n}.abc"]}).encode() + b"\n" for n in range(3))
)
def training_jsonl(folder, data):
    from clamp3.data.jsonl import JsonLines, read_objects

    (folder / "a.jsonl").write_bytes(data)
    starts = [start for start, _, found in read_objects(folder / "a.jsonl") if found is not None]
    lines = JsonLines(folder / "a.jsonl", np.array(starts, np.int64))
    for number in range(len(lines)):
        lines[number]


@functools.cache
def _checkpoint(suffix):
    """Return a small model as a file's bytes."""
    import torch

    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config, TowerConfig
    from clamp3.models.weights import save_safetensors

    torch.set_num_threads(1)
    sizes = {"width": 64, "n_layers": 1, "n_heads": 1, "feed_forward": 8}
    config = Clamp3Config(symbolic=TowerConfig(**sizes, max_length=4), hidden_size=8, patch_size=1, symbolic_length=4)
    model = Clamp3Model(config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        if suffix == ".pth":
            torch.save({"model": model.state_dict(), "epoch": 1}, path)
        else:
            save_safetensors(model, config, path)
        return path.read_bytes()


@reader(_checkpoint(".safetensors"), weight=0.5)
def safetensors(folder, data):
    from clamp3.models.weights import load_model

    (folder / "a.safetensors").write_bytes(data)
    load_model(folder / "a.safetensors", ("symbolic",))


@reader(json.dumps({"kind": "clamp3", "config": json.loads(json.dumps({"hidden_size": 8, "patch_size": 1, "symbolic": {
    "width": 64, "n_layers": 1, "n_heads": 1, "feed_forward": 8, "max_length": 4}, "symbolic_length": 4}))}).encode(),
        weight=0.5)  # fmt: skip
def safetensors_config(folder, data):
    """The configuration in the header of a sound file."""
    from clamp3.models.weights import load_model

    whole = _checkpoint(".safetensors")
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    try:
        wanted = json.loads(data)
    except (ValueError, RecursionError):
        wanted = {"config": data.decode("latin-1")}
    config = wanted.get("config") if isinstance(wanted, dict) else wanted
    header["__metadata__"]["config"] = config if isinstance(config, str) else json.dumps(config)
    packed = json.dumps(header).encode("utf-8", "replace")
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(packed)) + packed + whole[8 + size :])
    load_model(folder / "a.safetensors", ("symbolic",))


@reader(_checkpoint(".pth"), weight=0.2)
def pth(folder, data):
    from clamp3.models.weights import load_model

    (folder / "a.pth").write_bytes(data)
    load_model(folder / "a.pth", ("symbolic",))


def _cache():
    from clamp3.jobs.cache import VectorCache

    with tempfile.TemporaryDirectory() as folder:
        with VectorCache(Path(folder) / "c") as cache:
            cache.put_many({f"k{n}": np.full(4, n, np.float32) for n in range(20)})
        with sqlite3.connect(Path(folder) / "c") as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
        return (Path(folder) / "c").read_bytes()


@reader(_cache(), weight=0.3)
def cache(folder, data):
    from clamp3.jobs.cache import VectorCache

    (folder / "c").write_bytes(data)
    with VectorCache(folder / "c") as found:
        for key, vector in found.get_many(f"k{n}" for n in range(20)).items():
            assert vector.tolist() == [float(key[1:])] * 4
        for _ in range(2):  # damage that shows in reading only takes the first with it
            found.put_many({"new": np.ones(4, np.float32)})
            kept = found.get_many(["new"])
        assert "new" in kept


def _tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("a.abc", "b.abc"):
            entry = tarfile.TarInfo(name)
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"abc"))
    return stream.getvalue()[:2560]


@reader(_tar())
def tar(folder, data):
    from clamp3.data.shards import index_tars

    (folder / "a.tar").write_bytes(data)
    found = index_tars([str(folder / "a.tar")])
    for name in ("a.abc", "b.abc"):
        if place := found.find(name):
            place.read()


def _zip(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


BOOK = b"M:4/4\n\nX:1\nT:A\nK:C\nC|\n\nX:2\nK:D\nD|\n"
TRACK = b"MTrk\0\0\0\x08\0\x90\x40\x40\0\xff\x2f\0"
ROOTS = b'<container><rootfile full-path="a.xml"/><rootfile full-path="b.xml"/></container>'
LINKS = b'<opus xmlns:x="x"><score x:href="b.xml"/><score x:href="a.xml"/></opus>'


@reader(BOOK, BOOK.decode().encode("utf-16"), b"**kern\n4c\n*-\n!!!OTL: b\n**kern\n4d\n*-\n", _tar(), LINKS,
        b"MThd\0\0\0\x06\0\x02\0\x02\1\xe0" + TRACK + TRACK, _zip(("a.abc", BOOK), ("b/c.txt", "x")),
        _zip(("META-INF/container.xml", ROOTS), ("a.xml", "<score-partwise/>"), ("b.xml", LINKS)))  # fmt: skip
def pieces(folder, data):
    from clamp3.errors import Clamp3Error
    from clamp3.formats.pieces import pieces_of, read_piece

    last, found = None, 0
    for suffix in (".abc", ".krn", ".mid", ".mxl", ".zip", ".tar"):
        path = folder / f"in{suffix}"
        path.write_bytes(data)
        try:
            for piece in pieces_of(path):
                found += 1
                assert piece.problem or piece.link or not {"..", ""} & set(piece.name.split("/"))
                if not piece.link:
                    read_piece(path, piece)
        except Clamp3Error as error:
            last = error
    if last is not None and not found:  # a file of one kind is none of another
        raise last


ABC = "L:1/8\nM:4/4\nK:C\nV:1\n[V:1]CDEF|]\n"


@functools.cache
def _index():
    """Return a folder with a JSONL, its music and its index; removed at the end of the process."""
    from clamp3.data.record_store import Wanted, open_store

    home = tempfile.TemporaryDirectory()
    folder = Path(home.name)
    rows = []
    for n in range(6):
        (folder / f"{n}.abc").write_text(ABC * (n + 1))
        np.save(folder / f"{n}.npy", np.ones((1, n + 1, 4), np.float32))
        rows.append(json.dumps({"id": f"p{n}", "title": "T", "filepaths": [f"{n}.abc", f"{n}.npy"]}))
    (folder / "a.jsonl").write_text("\n".join(rows))
    wanted = Wanted((("text", "symbolic"), ("text", "audio")), 4, "clamp3")
    store = open_store(folder / "a.jsonl", folder / "pack", wanted)
    stem = next(path for path in (folder / "pack").iterdir() if (path / "done.json").exists())
    return home, wanted, stem, {path.name: path.read_bytes() for path in stem.iterdir()}, len(store)


def _index_seeds():
    return [name.encode() + b"\0" + data for name, data in _index()[3].items()]


@reader(*_index_seeds(), weight=0.1)
def training_index(folder, data):
    """One file of an index damaged: the index is as before, made again where need be."""
    from clamp3.data.record_store import open_store

    home, wanted, stem, files, n_records = _index()
    name, _, content = data.partition(b"\0")
    target = stem / name.decode("latin-1")
    if target.name not in files or target.parent != stem:
        return
    target.write_bytes(content)
    store = open_store(Path(home.name) / "a.jsonl", Path(home.name) / "pack", wanted)
    assert len(store) == n_records
    for number in range(n_records):
        for view, file in store.record(number).files:
            tower = {"abc": "symbolic", "audio": "audio"}[view]
            assert store.music[tower].read(file, slice(0, 3)).shape[0] == 3
