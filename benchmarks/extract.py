"""Speed of extraction and of questions to raw scores, with full-size random weights, against the released way.

    python benchmarks/extract.py              # some ten minutes on 2 cores
    python benchmarks/extract.py --quick      # fewer inputs; a smoke test, not a measurement

Everything is measured in one run on one machine. Music and texts come from music21's corpus. Weights (1.8 GB, with
the names and shapes of the published file) and a tokenizer of XLM-R's size are made once in runs/bench. Writes
benchmarks/results/extract.<vendor>.json, or extract_<dtype>.<vendor>.json where one arithmetic is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import by_turns, write_result

from clamp3.cli import EXIT_OK, parser_for, run
from clamp3.formats import Kind

if TYPE_CHECKING:
    import numpy as np
    from released_way import ReleasedWay

    from clamp3.embedding.clamp3 import Clamp3

ROOT = Path(__file__).resolve().parents[1]
N_PIECES = 250_002
QUESTIONS = (
    "a solemn four-part chorale in a minor key",
    "joyful music for Christmas in D major",
    "eine ruhige Melodie",
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--quick", action="store_true", help="few inputs")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "bench", help="where weights and inputs lie")
    parser.add_argument("--repeats", type=int, default=3, help="runs per figure; the median counts (default: 3)")
    parser.add_argument(
        "--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"],
        help="arithmetic to measure; a processor without bfloat16 takes half an hour for it (default: both)",
    )  # fmt: skip
    parser.add_argument("--no_released", action="store_true", help="leave the released way out")
    return parser


# ---- inputs ------------------------------------------------------------------------------------------------------


def make_weights(folder: Path) -> tuple[Path, Path]:
    """Write a checkpoint and a tokenizer of the released sizes unless they are there; return their paths."""
    import torch

    from clamp3.models.clamp3 import Clamp3Model
    from clamp3.models.config import Clamp3Config

    weights, text_model = folder / "released_size.pth", folder / "text_model"
    if not (text_model / "tokenizer.json").is_file():
        make_tokenizer(text_model)
    if not weights.is_file():
        model = Clamp3Model(Clamp3Config.released(), generator=torch.Generator().manual_seed(1))
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        partial = weights.with_suffix(".part")
        torch.save({"model": state, "epoch": 0, "best_epoch": 0, "min_eval_loss": 0.0}, partial)
        partial.replace(weights)
    return weights, text_model


def make_tokenizer(folder: Path) -> None:
    """Write a tokenizer with as many pieces as XLM-R's: the words of the benchmark's texts and made-up ones."""
    import itertools

    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({f"▁{word}" for text in [*QUESTIONS, *texts(512)] for word in text.split()})
    letters = "abcdefghijklmnopqrstuvwxyz"
    made_up = ("".join(parts) for parts in itertools.product(letters, repeat=4))
    pieces = dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", "▁", *letters, *words])
    for piece in made_up:
        if len(pieces) >= N_PIECES:
            break
        pieces.setdefault(piece)
    tokenizer = Tokenizer(models.Unigram([(piece, -len(piece) / 2) for piece in pieces], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    settings |= {"sep_token": "</s>", "cls_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    facts: dict[str, Any] = {"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"], "hidden_act": "gelu"}
    facts |= {"vocab_size": N_PIECES, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    facts |= {"intermediate_size": 3072, "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-05}
    facts |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(facts))


def texts(n: int) -> list[str]:
    """Return descriptions of music of the length that training texts have, all different."""
    moods = ("quiet", "lively", "solemn", "playful", "tender", "stormy", "bright", "dark")
    forms = ("chorale", "reel", "madrigal", "string quartet", "waltz", "lullaby", "fugue", "march")
    keys = ("C major", "G minor", "D major", "E minor", "F major", "A minor", "B flat major", "C minor")
    return [
        f"A {moods[i % 8]} {forms[i // 8 % 8]} in {keys[i // 64 % 8]}, number {i}, for voices and strings; the melody "
        "moves by step over a walking bass and comes to rest on the tonic after a short turn to the relative key."
        for i in range(n)
    ]


def corpus_files(pattern: str, n: int) -> list[Path]:
    """Return the first ``n`` files of music21's corpus that fit a pattern."""
    from importlib.util import find_spec

    spec = find_spec("music21")
    assert spec is not None and spec.origin is not None
    return sorted((Path(spec.origin).parent / "corpus").glob(pattern))[:n]


def performances(n: int) -> list[bytes]:
    """Return MIDI files of movements of string quartets."""
    sys.path.insert(0, str(ROOT / "code"))
    from clamp3.formats.guards import unpack_mxl
    from recipes.mini.scores import read_musicxml, to_midi

    return [to_midi(read_musicxml(unpack_mxl(path.read_bytes()))) for path in corpus_files("haydn/*/*.mxl", n)]


# ---- measuring ---------------------------------------------------------------------------------------------------


def wall(command: list[str], environment: dict[str, str] | None = None) -> float:
    """Return the seconds a command takes from start to end."""
    started = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}")
    return round(time.perf_counter() - started, 2)


def measure_rates(
    work: dict[str, list[Any]], weights: Path, text_model: Path, *, dtypes: list[str], repeats: int, released: bool
) -> dict[str, Any]:
    """Return inputs per second of every way, taken by turns, and how close their vectors are."""
    import numpy as np
    from released_way import ReleasedWay

    from clamp3.embedding.clamp3 import Clamp3

    result: dict[str, Any] = {}
    ours = {
        dtype: Clamp3.from_pretrained(weights, text_model=text_model, dtype=dtype, device="cpu")  # type: ignore[arg-type]
        for dtype in dtypes
    }
    theirs = ReleasedWay(weights, text_model) if released else None
    for name, items in work.items():
        ways: dict[str, Callable[[], np.ndarray]] = {dtype: partial(vectors_of, ours[dtype], items) for dtype in dtypes}
        if theirs:
            ways["released"] = one_at_a_time(theirs, name, items)
        vectors = {way: encode() for way, encode in ways.items()}  # also the warm-up
        seconds = dict(zip(ways, by_turns(list(ways.values()), repeats), strict=True))
        for way, taken in seconds.items():
            result[f"{name}_per_sec_{way}"] = round(len(items) / statistics.median(taken), 3)
        for dtype in dtypes if released else ():
            times = [slow / fast for fast, slow in zip(seconds[dtype], seconds["released"], strict=True)]
            result[f"{name}_times_released_{dtype}"] = round(statistics.median(times), 2)
        if {"float32", "released"} <= vectors.keys():
            apart = np.abs(vectors["released"] - vectors["float32"]).max()
            result[f"{name}_max_abs_float32_to_released"] = float(apart)
        if {"float32", "bfloat16"} <= vectors.keys():
            a, b = vectors["float32"], vectors["bfloat16"]
            cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
            result[f"{name}_min_cosine_bfloat16_to_float32"] = round(float(cosines.min()), 7)
    return result


def vectors_of(clamp3: Clamp3, items: list[Any]) -> np.ndarray:
    """Return (n, width) vectors.

    Raises
    ------
    RuntimeError
        If an input has none.
    """
    encoded = clamp3.encode(items)
    if not encoded.ok.all():
        raise RuntimeError(next(error for error in encoded.errors if error))
    return encoded.vectors


def one_at_a_time(way: ReleasedWay, name: str, items: list[Any]) -> Callable[[], np.ndarray]:
    """Return what takes the same inputs the released way."""
    import numpy as np

    from clamp3.formats.symbolic import to_symbolic

    if name == "text":
        return lambda: np.stack([way.words(text) for text in items])
    inputs = [to_symbolic(data, kind, name=name).text for data, kind in items]
    return lambda: np.stack([way.music(text) for text in inputs])


def measure_starts(
    weights: Path, text_model: Path, chorales: list[Path], *, dtypes: list[str], released: bool
) -> dict[str, Any]:
    """Return seconds of whole processes: first vector, first question to raw chorales, next questions."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "chorales"
        folder.mkdir()
        for path in chorales:
            (folder / path.name).write_bytes(path.read_bytes())
        first = "import sys; from clamp3.embedding.clamp3 import Clamp3; "
        first += "e = Clamp3.from_pretrained(sys.argv[1], text_model=sys.argv[2]{}).encode(sys.argv[3]); "
        first += "assert e.ok.all(), e.errors"
        model = [str(weights), str(text_model)]
        start = [sys.executable, "-c", first.format(""), *model]
        result["first_vector_sec_text"] = wall([*start, "a lively jig"])
        result["first_vector_sec_score"] = wall([*start, str(folder / chorales[0].name)])
        # Vectors are kept under the weights' hash: a file that was never seen is read whole for it.
        keeping = [sys.executable, "-c", first.format(", cache=sys.argv[4]"), *model, "a lively jig"]
        unseen = {"CLAMP3_CACHE": str(Path(temporary) / "unseen")}
        result["first_vector_sec_weights_never_seen"] = wall([*keeping, str(Path(temporary) / "vectors")], unseen)
        search = [sys.executable, str(ROOT / "retrieval" / "clamp3_search.py")]
        flags = [str(folder), "--model", str(weights), "--text_model", str(text_model)]
        for dtype in dtypes:  # the first of each meets weights, scores and question for the first time
            cache = {"CLAMP3_CACHE": str(Path(temporary) / dtype)}
            times = [wall([*search, question, *flags, "--dtype", dtype], cache) for question in QUESTIONS]
            result[f"question_to_{len(chorales)}_raw_chorales_sec_{dtype}"] = times[0]
            result[f"next_question_sec_{dtype}"] = min(times[1:])
        if released:
            script = str(Path(__file__).with_name("released_way.py"))
            result["first_vector_sec_released"] = wall([sys.executable, script, str(weights), str(text_model)])
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    weights, text_model = make_weights(args.folder)
    n_scores, n_midi, n_texts = (8, 2, 8) if args.quick else (40, 12, 64)
    chorales = corpus_files("bach/*.mxl", n_scores)
    work: dict[str, list[Any]] = {
        "score": [(text_form(path.read_bytes(), Kind.MUSICXML), Kind.ABC) for path in chorales],
        "midi": [(text_form(data, Kind.MIDI), Kind.MTF) for data in performances(n_midi)],
        "text": texts(n_texts),
    }
    repeats = 1 if args.quick else args.repeats
    how = {"dtypes": args.dtypes, "released": not args.no_released}
    result = measure_starts(weights, text_model, chorales, **how)
    result |= measure_rates(work, weights, text_model, repeats=repeats, **how)
    result["inputs"] = inputs_of(work)
    for name, value in result.items():
        print(f"{name:60} {value}")
    one_dtype = args.dtypes[0] if len(args.dtypes) == 1 else None
    name = "_".join(part for part in ("extract", one_dtype, "quick" if args.quick else None) if part)
    print(f"written to {write_result(name, result)}")
    return EXIT_OK


def text_form(data: bytes, kind: Kind) -> bytes:
    """Return a score or performance as the interleaved ABC or MTF that the released extraction is given."""
    from clamp3.formats.symbolic import to_symbolic

    return to_symbolic(data, kind, name="a piece").text.encode("utf-8")


def inputs_of(work: dict[str, list[Any]]) -> dict[str, Any]:
    """Return how many inputs there are and how long they are."""
    from clamp3.formats.symbolic import to_symbolic
    from clamp3.modalities import patches

    facts: dict[str, Any] = {f"n_{name}": len(items) for name, items in work.items()}
    for name in ("score", "midi"):
        lengths = [len(patches.encode(to_symbolic(data, kind, name=name).text)) for data, kind in work[name]]
        facts[f"{name}_mean_patches"] = round(statistics.mean(lengths), 1)
    facts["text_mean_words"] = round(statistics.mean(len(text.split()) for text in work["text"]), 1)
    return facts


if __name__ == "__main__":
    raise SystemExit(run(main))
