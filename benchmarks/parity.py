"""Compare this code with outputs measured on the released system, all of them, and say where they differ.

    python benchmarks/parity.py --golden path/to/golden
    python benchmarks/parity.py --golden path/to/golden --data path/to/data   # also: do all real scores convert?

Prints one line per check and writes benchmarks/results/parity.<vendor>.json; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from machine import write_result

from clamp3.cli import parser_for, run
from clamp3.formats import Kind


def sha256(data: bytes | str) -> str:
    return hashlib.sha256(data.encode("utf-8") if isinstance(data, str) else data).hexdigest()


def corpus_root() -> Path:
    spec = importlib.util.find_spec("music21")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "corpus"


# ---- sheet music and performances: byte for byte ----------------------------------------------------------------


def abc_one(item: dict[str, Any]) -> dict[str, bool]:
    from clamp3.formats.abc.interleave import interleave
    from clamp3.formats.musicxml import musicxml_to_abc
    from clamp3.modalities import patches

    path = corpus_root() / item["source"]
    standard = musicxml_to_abc(path.read_bytes(), name=path.stem).text
    text = interleave(standard).text
    same = {
        "standard": sha256(standard) == item["standard_sha256"],
        "interleaved": sha256(text) == item["interleaved_sha256"],
    }
    if "patches_sha256" in item:
        same["patches"] = sha256(patches.encode(text).tobytes()) == item["patches_sha256"]
    return same


def mtf_one(item: dict[str, Any], root: Path) -> dict[str, bool]:
    from clamp3.formats.mtf import midi_to_mtf, mtf_to_midi
    from clamp3.modalities import patches
    from clamp3.models.families import FAMILIES

    data = (root / item["source"]).read_bytes()
    text = midi_to_mtf(data).text
    lists = FAMILIES["clamp2"].without
    plain = "\n".join(line for line in text.split("\n") if line.partition(" ")[0] not in lists)
    full = midi_to_mtf(data, m3_compatible=False).text
    return {
        "mtf": sha256(text) == item["mtf_sha256"],
        "patches": sha256(patches.encode(text).tobytes()) == item["patches_sha256"],
        "mtf of CLaMP 2 and M3": midi_to_mtf(data, without=lists).text == plain,
        "mtf_midi_mtf": midi_to_mtf(mtf_to_midi(text)).text == text,
        "midi_mtf_midi": midi_to_mtf(mtf_to_midi(full), m3_compatible=False).text == full,
    }


# Measured on the released patch cutter under Unidecode 1.3.6, its pin: the SHA-256 sums of the patches of the golden
# standard ABC, uncut by anything before, joined and hashed in the order of their paths; every character there is, in T:
# lines, transliterated.
STANDARD_PATCHES = "35b9f8fd3c5969f4a718ae15452eafc994f7125fde7036cb7b3c016312c38895"
TRANSLITERATED = "1b77aec2cf1277234ece0f692d7ca5c06a0aaaf6de5e8f5c23ade109c3f2657e"


def readings(golden: Path) -> dict[str, Any]:
    """Compare standard ABC as it is written, and what becomes of characters beyond ASCII."""
    from clamp3.modalities import patches
    from clamp3.modalities.symbolic import SYMBOLIC, Reading

    folder = golden / "abc/standard"
    files = sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: str(path.relative_to(folder))
    )
    values = [SYMBOLIC.prepare((path.read_bytes(), Kind.ABC, path.name), Reading(as_is=True)).values for path in files]
    left_out = {*range(0xD800, 0xE000), 0x2028, 0x2029}  # surrogates, and what becomes a line break
    lines = "".join(f"T:{chr(code)}\n" for code in range(128, 0x110000) if code not in left_out)
    made = {
        "ABC as it is: patches": (sha256("".join(sha256(value.tobytes()) for value in values)), STANDARD_PATCHES),
        "Unicode as Unidecode 1.3.6": (sha256("".join(patches.split_text(lines))), TRANSLITERATED),
    }
    return {name: {"files": len(files), "ok": ours == theirs} for name, (ours, theirs) in made.items()}


def converts(path: Path) -> str:
    """Return "ok", or why a real score does not convert."""
    from clamp3.errors import FormatError
    from clamp3.formats.symbolic import to_symbolic

    try:
        converted = to_symbolic(path.read_bytes(), Kind.MUSICXML, name=path.stem)
    except FormatError as error:
        return f"{path.name}: {error}"
    return "ok" if converted.text.strip() else f"{path.name}: empty text"


def tally(name: str, rows: list[dict[str, bool]]) -> dict[str, Any]:
    equal = Counter(key for row in rows for key, same in row.items() if same)
    total = Counter(key for row in rows for key in row)
    return {f"{name}: {key}": {"equal": equal[key], "of": total[key], "ok": equal[key] == total[key]} for key in total}


# ---- models: 1e-4 ------------------------------------------------------------------------------------------------


def seeded_state(golden: Path, manifest: dict[str, list[int]], gpt2_norms: bool = False) -> dict[str, Any]:
    """Make golden weights from their names, as golden/seeded_weights.py does."""
    import torch

    spec = importlib.util.spec_from_file_location("seeded_weights", golden / "seeded_weights.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    state = {name: torch.from_numpy(module.seeded(name, tuple(shape))) for name, shape in manifest.items()}
    if gpt2_norms:  # GPT-2's layer norms are called ln_*: 1 + seeded
        for name in state:
            if ".ln_" in name and name.endswith(".weight"):
                state[name] = 1 + state[name]
    return state


def compare(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    a, b = ours.ravel().astype(np.float64), theirs.ravel().astype(np.float64)
    cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    worst = float(np.abs(a - b).max())
    return {"cosine": cosine, "max_abs": worst, "ok": cosine >= 0.999999 and worst <= 1e-4}


def embeddings(golden: Path) -> dict[str, Any]:
    import torch

    from clamp3.embedding.clamp3 import Clamp3

    model_dir = golden / "model"
    state = seeded_state(golden, json.loads((model_dir / "manifest.json").read_text()))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "golden.pth"
        torch.save({"model": state, "epoch": 0}, weights)
        del state
        clamp3 = Clamp3.from_pretrained(weights, text_model=model_dir / "tiny_xlmr", dtype="float32")
        paths = sorted((model_dir / "inputs").iterdir())
        encoded = clamp3.encode(paths)
        for path, vector, error in zip(paths, encoded.vectors, encoded.errors, strict=True):
            if error:
                results[f"global {path.stem}"] = {"error": error, "ok": False}
                continue
            results[f"global {path.stem}"] = compare(vector, np.load(model_dir / "global" / f"{path.stem}.npy"))
        temporal = clamp3.encode(paths, temporal=True)
        for path, hidden in zip(paths, temporal.temporal, strict=True):
            with np.load(model_dir / "temporal" / f"{path.stem}.npz") as their:
                want = {key: their[key] for key in their.files}
            results[f"temporal {path.stem}"] = temporal_row(np.asarray(hidden), want)
    return results


def temporal_row(hidden: np.ndarray, want: dict[str, np.ndarray]) -> dict[str, Any]:
    flat = hidden.reshape(-1, hidden.shape[-1])
    shape = tuple(int(n) for n in want["shape"])
    parts = {"first": flat[:2], "last": flat[-2:], "mean": flat.mean(0)}
    rows = [compare(parts[key], np.asarray(want[key])) for key in parts]
    return {
        "cosine": min(row["cosine"] for row in rows),
        "max_abs": max(row["max_abs"] for row in rows),
        "ok": shape == (1, *flat.shape) and all(row["ok"] for row in rows),
    }


def released_names(golden: Path) -> dict[str, Any]:
    """Load exactly the names and shapes of the released checkpoint, strictly; no memory is taken for it."""
    import torch

    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config

    names = json.loads((golden / "model/released_checkpoint_manifest.json").read_text())
    with torch.device("meta"):
        model = Clamp3Model(Clamp3Config.released())
        state = {name: torch.empty(shape) for name, shape in names.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return {"names": len(names), "numbers": sum(t.numel() for t in state.values()), "ok": len(names) == 605}


# ---- training ------------------------------------------------------------------------------------------------------


def near(ours: float, theirs: float) -> dict[str, Any]:
    return {"ours": ours, "released": theirs, "ok": abs(ours - theirs) <= 1e-4}


def contrastive(expected: dict[str, float]) -> dict[str, Any]:
    import torch

    from clamp3.training.loss import contrastive_loss

    rng = np.random.Generator(np.random.Philox(11))
    a, b = (torch.from_numpy(rng.standard_normal((8, 16), dtype=np.float32)).requires_grad_() for _ in range(2))
    loss = contrastive_loss(a, b)
    loss.backward()
    assert a.grad is not None and b.grad is not None
    ours = {
        "loss": loss.item(),
        "grad_a_sum": a.grad.abs().sum().item(),
        "grad_b_sum": b.grad.abs().sum().item(),
        "grad_a_00": a.grad[0, 0].item(),
    }
    return {f"contrastive {name}": near(value, expected[name]) for name, value in ours.items()}


def m3_loss(golden: Path, expected: dict[str, Any]) -> dict[str, Any]:
    import torch

    from clamp3.modalities.patches import MASK, encode
    from clamp3.models.config import DecoderConfig, M3Config, TowerConfig
    from clamp3.models.m3 import M3Model

    encoder = TowerConfig(width=96, n_layers=2, n_heads=4, feed_forward=192)
    decoder = DecoderConfig(width=96, n_layers=3, n_heads=4, feed_forward=384)
    model = M3Model(M3Config(encoder=encoder, decoder=decoder)).eval()
    manifest = json.loads((golden / "training/m3_tiny_manifest.json").read_text())
    model.load_state_dict(seeded_state(golden, manifest, gpt2_norms=True), strict=False)
    patches = torch.from_numpy(encode(interleaved(expected["source"])))[None]
    selected = torch.zeros(patches.shape[:2], dtype=torch.bool)
    selected[0, 1::3] = True
    corrupted = torch.where(selected[..., None], MASK, patches)
    with torch.no_grad():
        return {"M3 loss": near(model(patches, None, selected, corrupted).item(), expected["loss"])}


def released_start(golden: Path) -> dict[str, Any]:
    """Start a run from a released file whose text tower has heads of 32, after a run that froze the audio tower."""
    import torch

    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config, TowerConfig
    from clamp3.training.build import alignment_model
    from clamp3.training.config import Clamp3Training
    from clamp3.training.released import adopt

    small = TowerConfig(width=64, n_layers=1, n_heads=1, feed_forward=64)
    values = {**json.loads((golden / "model/tiny_xlmr/config.json").read_text()), "hidden_size": 128}
    values |= {"num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 256}
    text = TowerConfig.from_transformers(values)
    model = Clamp3Model(Clamp3Config(text=text, symbolic=small, audio=small, audio_length=128)).eval()
    for name, parameter in model.named_parameters():  # as set_trainable does in symbolic training
        parameter.requires_grad_(not name.startswith("audio_"))
    optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()))
    ids, patches = torch.arange(8)[None] % 4 + 4, torch.randint(4, 128, (1, 5, 64))
    for _ in range(3):
        (model.text_features(ids) @ model.symbolic_features(patches).T).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(values))
        content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1, "modality": "symbolic"}
        torch.save(content, folder / "old.pth")
        ours, _ = alignment_model(Clamp3Training(text_model=name, init=(str(folder / "old.pth"),)))
        for parameter, trained in zip(ours.parameters(), model.parameters(), strict=True):
            parameter.requires_grad_(trained.requires_grad)
        resumed = torch.optim.AdamW([parameter for parameter in ours.parameters() if parameter.requires_grad])
        adopt(folder / "old.pth", ours, resumed)
        with torch.no_grad():
            theirs = model.text_features(ids).numpy()
            heads = compare(ours.eval().features("text", ids).numpy(), theirs)
    pairs = list(zip(ours.parameters(), model.parameters(), strict=True))
    held = [mine for mine, trained in pairs if trained in optimizer.state]
    same = [
        torch.equal(resumed.state[mine]["exp_avg"], optimizer.state[trained]["exp_avg"])
        for mine, trained in pairs if trained in optimizer.state and mine in resumed.state
    ]  # fmt: skip
    adam = {"equal": sum(same), "of": len(held), "ok": sum(same) == len(held) == len(resumed.state) > 0}
    return {"released start: heads of --text_model": heads, "released start: Adam's state": adam}


def interleaved(source: str) -> str:
    from clamp3.formats.abc.interleave import interleave
    from clamp3.formats.musicxml import musicxml_to_abc

    path = corpus_root() / source
    return interleave(musicxml_to_abc(path.read_bytes(), name=path.stem).text).text


def training_trace(golden: Path, trace: dict[str, Any]) -> dict[str, Any]:
    """Train eight steps with the real trainer on the eight golden pairs."""
    from clamp3.data.patch_pack import open_pack
    from clamp3.data.records import Record
    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config, TowerConfig
    from clamp3.models.tokenizer import load_tokenizer
    from clamp3.training.alignment import AlignmentTask
    from clamp3.training.config import Clamp3Training
    from clamp3.training.loop import Trainer, make_accelerator
    from clamp3.training.pair_data import PairDataset
    from clamp3.training.pair_encoder import PairEncoder

    tiny = golden / "model/tiny_xlmr"
    text = TowerConfig.from_transformers({**json.loads((tiny / "config.json").read_text()), "hidden_dropout_prob": 0.0})
    symbolic = TowerConfig(width=96, n_layers=2, n_heads=4, feed_forward=192, dropout=0.0)
    model = Clamp3Model(Clamp3Config(text=text, symbolic=symbolic, hidden_size=96))
    model.load_state_dict(seeded_state(golden, {name: list(t.shape) for name, t in model.state_dict().items()}))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{i}.abc" for i in range(len(trace["sources"]))]
        for path, source in zip(paths, trace["sources"], strict=True):
            path.write_text(interleaved(source), encoding="utf-8")
        records = [Record(str(i), {"analysis": text}, (("abc", i),)) for i, text in enumerate(trace["texts"])]
        data = PairDataset(
            records,
            {"symbolic": open_pack(paths, folder / "pack")},
            load_tokenizer(tiny),
            limits={"symbolic": 512, "text": 128},
            seed=0,
            text_dropout=False,
            instrument_removal=0.0,
            random_crops=False,
        )
        config = Clamp3Training(
            out=folder / "run",
            batch_size=8,
            epochs=8,
            learning_rate=1e-3,
            warmup_steps=0,
            log_every=1,
            eval_split=0.0,
            dropout=0.0,
            save_every=0,
            mixed_precision="no",
        )
        Trainer(AlignmentTask(config, PairEncoder(model), data, None), config, make_accelerator(config)).fit()
        rows = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    return {f"training loss {i + 1}": near(ours, trace["losses"][i]) for i, ours in enumerate(losses[:8])}


# ---- the script ----------------------------------------------------------------------------------------------------


def real_scores(data: Path) -> dict[str, Any]:
    """Convert every score of music21's corpus and every .mxl of OpenScore Lieder."""
    from clamp3.jobs.parallel import process_map

    corpus = corpus_root()
    sets = {
        "music21 scores convert": sorted(p for s in (".xml", ".musicxml", ".mxl") for p in corpus.rglob(f"*{s}")),
        "OpenScore Lieder convert": sorted((data / "openscore_lieder").rglob("*.mxl")),
    }
    results = {}
    for name, paths in sets.items():
        outcomes = [(o.value or o.error) for o in process_map(converts, paths, desc=name)]
        reasons = sorted(str(o) for o in outcomes if o != "ok")
        results[name] = {"equal": len(paths) - len(reasons), "of": len(paths), "reasons": reasons, "ok": not reasons}
    return results


def build_parser() -> argparse.ArgumentParser:
    parser = parser_for(__doc__)
    parser.add_argument("--golden", type=Path, required=True, help="folder of goldens (abc, mtf, model, training)")
    parser.add_argument("--data", type=Path, help="folder of real music (vgmidi, openscore_lieder); default: beside it")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    golden: Path = args.golden.resolve()
    data: Path = args.data or golden.parent / "data"
    started = time.perf_counter()
    abc = [
        row for row in json.loads((golden / "abc/music21_corpus.json").read_text())["files"] if row["standard_sha256"]
    ]
    mtf = json.loads((golden / "mtf/vgmidi_labelled.json").read_text())["files"]
    training = json.loads((golden / "training/golden.json").read_text())
    results = {
        **tally("ABC", [abc_one(item) for item in abc]),
        **tally("MIDI", [mtf_one(item, data / "vgmidi") for item in mtf]),
        **readings(golden),
        **embeddings(golden),
        "released checkpoint, strict": released_names(golden),
        **contrastive(training["clip_loss"]),
        **m3_loss(golden, training["m3"]),
        **released_start(golden),
        **training_trace(golden, training["train_trace"]),
        **real_scores(data),
    }
    for name, row in results.items():
        shown = {key: value for key, value in row.items() if key != "ok"}
        print(f"{'equal' if row['ok'] else 'DIFFERS':8}{name:32}{shown}")
    path = write_result("parity", {"seconds": round(time.perf_counter() - started, 1), "checks": results})
    bad = [name for name, row in results.items() if not row["ok"]]
    print(f"{len(results) - len(bad)} of {len(results)} checks equal; written to {path}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(run(main))
