"""Measure the mini model on the works that no training step has seen.

python code/recipes/mini/evaluate.py DATA_DIR --model runs/mini/clamp3/best.safetensors --text_model runs/mini/text
python code/recipes/mini/evaluate.py DATA_DIR --model mini --json evaluation.json

Protocol, fixed before training: the references are all held-out pieces. text to music asks with one text per
piece, the lines of its `analysis` in English (what validation used), and expects its ABC; the same in the other
languages, and with the short `description` (which many pieces share). ABC to MTF and back expect the other
encoding of the piece. Zero-shot collection: the nearest of one prompt per collection. If the model has an audio
tower, the same with the rendered sound of render.py, whose presets and tempi no training piece has. Cosine; ties
count against the query; chance MRR is that of a random order.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from clamp3.formats.tables import json_text

# Catch-all collections ("classical piece", "folk tune") are no classes a prompt can name.
CLASSES = (
    "bach_chorale",
    "palestrina",
    "monteverdi",
    "trecento",
    "string_quartet",
    "ryan",
    "oneill",
    "aird",
    "essen_europe",
    "essen_china",
)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("data_dir", type=Path, help="what build_data.py wrote")
    parser.add_argument("--model", default="mini", help="name or path of the weights (default: mini)")
    parser.add_argument("--text_model", help="folder with the tokenizer, if it does not lie beside the weights")
    parser.add_argument("--dtype", default="float32", choices=("auto", "float32", "bfloat16"), help="arithmetic")
    parser.add_argument("--limit", type=int, help="only the first so many held-out pieces")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    return parser


def held_out(data_dir: Path) -> list[dict[str, Any]]:
    """Return the held-out records, each with its row of ``pieces.jsonl`` as ``row``.

    Raises
    ------
    DataError
        If there are none, or a record has no row.
    """
    from clamp3.errors import DataError
    from recipes.mini.build_data import read_rows

    rows = {row["id"]: row for row in read_rows(data_dir / "pieces.jsonl")}
    records = read_rows(data_dir / "heldout.jsonl")
    if not records:
        raise DataError(f"{data_dir / 'heldout.jsonl'} is absent or empty; run build_data.py first.")
    lost = [record["id"] for record in records if record["id"] not in rows]
    if lost:
        raise DataError(f"{len(lost)} held-out pieces are not in pieces.jsonl, for example {lost[0]}.")
    return [{**record, "row": rows[record["id"]]} for record in records]


class Vectors:
    """Encodes with one model and refuses to go on over failures, which would flatter the numbers."""

    def __init__(self, model: Any):
        self.model = model

    def __call__(self, items: Sequence[Any]) -> Any:
        """Return (N, D) vectors of files and (bytes, kind) pairs."""
        from clamp3.errors import DataError

        encoded = self.model.encode(items)
        bad = [error for error in encoded.errors if error]
        if bad:
            raise DataError(f"{len(bad)} of {len(items)} inputs cannot be encoded: {bad[0]}")
        return encoded.vectors

    def texts(self, texts: Sequence[str]) -> Any:
        """Return vectors of texts; lines are joined by the separator token, as in a text file."""
        from clamp3.formats import Kind

        return self([(text.encode("utf-8"), Kind.TEXT) for text in texts])


def retrieval(queries: Any, references: Any) -> dict[str, float]:
    """Return all metrics where query i is answered by reference i."""
    import numpy as np

    from clamp3.retrieval.cosine import cosine_ranks
    from clamp3.retrieval.metrics import evaluate

    found = evaluate(cosine_ranks(queries, references, np.arange(len(queries))), len(references))
    return {name: round(value, 4) for name, value in found.items()}


def precision_at(top: int, scores: Any, relevant: Any) -> float:
    """Return the share of relevant pieces among the first; of equal scores the irrelevant one comes first.

    Parameters
    ----------
    top : int
        How many are the first.
    scores, relevant : arrays of float and bool, shape (N,)
    """
    import numpy as np

    return float(relevant[np.lexsort((relevant, -scores))[:top]].mean())


def zero_shot(music: Any, prompts: Any, truth: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    """Return accuracies of the nearest prompt.

    Parameters
    ----------
    music, prompts : arrays, shapes (N, D) and (C, D)
    truth : sequence of int
        Class of every piece.
    names : sequence of str
        Of the C classes.
    """
    import numpy as np

    from clamp3.index.ranking import unit_rows

    guess = (unit_rows(music) @ unit_rows(prompts).T).argmax(axis=1)
    expected = np.asarray(truth)
    per_class = {
        name: round(float((guess[expected == index] == index).mean()), 4)
        for index, name in enumerate(names)
        if (expected == index).any()
    }
    counts = np.bincount(expected, minlength=len(names))
    return {
        "pieces": len(expected),
        "accuracy": round(float((guess == expected).mean()), 4),
        "balanced_accuracy": round(float(np.mean(list(per_class.values()))), 4),
        "largest_class": round(float(counts.max() / len(expected)), 4),
        "per_class": per_class,
    }


def prompt_of(name: str, language: str) -> str:
    """Return the zero-shot prompt of a collection: its label as a person would type it."""
    from recipes.mini.lexicon import word

    label = word("label", name, language)
    return f"{'an' if label[0].lower() in 'aeiou' else 'a'} {label}" if language == "en" else label


def files_of(records: Sequence[dict[str, Any]], data_dir: Path, suffix: str) -> list[Path]:
    """Return every record's file of one type; empty if no record has one.

    Raises
    ------
    DataError
        If some have one and others have none: numbers over a part would flatter.
    """
    from clamp3.errors import DataError

    paths = [data_dir / path for record in records for path in record["filepaths"] if path.endswith(suffix)]
    if paths and len(paths) != len(records):
        raise DataError(f"{len(paths)} of {len(records)} held-out pieces have a {suffix} file; make them all first.")
    return paths


def measure(model: Any, data_dir: Path, limit: int | None = None) -> dict[str, Any]:
    """Return every number of the protocol.

    Parameters
    ----------
    model : clamp3.embedding.clamp3.Clamp3
    data_dir : Path
        What build_data.py wrote.
    limit : int, optional
        Take only so many pieces.
    """
    from recipes.mini.lexicon import LANGUAGES
    from recipes.mini.records import lines_of

    records = held_out(data_dir)[:limit]
    encode = Vectors(model)
    abc, mtf = (encode(files_of(records, data_dir, suffix)) for suffix in (".abc", ".mtf"))
    result: dict[str, Any] = {"model": model.identity, "pieces": len(records)}
    for field in ("analysis", "description"):
        for language in LANGUAGES:
            texts = [
                record[field] if language == "en" else lines_of(record["row"], field, language) for record in records
            ]
            vectors = encode.texts(texts)
            result[f"{field} ({language}) to ABC"] = retrieval(vectors, abc)
            if language == "en":
                result[f"{field} (en) to MTF"] = retrieval(vectors, mtf)
    result["ABC to MTF"] = retrieval(abc, mtf)
    result["MTF to ABC"] = retrieval(mtf, abc)
    music = {"ABC": abc, "MTF": mtf}
    if model.lacks("audio") is None and files_of(records, data_dir, ".npy"):
        music["audio"] = audio = encode(files_of(records, data_dir, ".npy"))
        for field in ("analysis", "description"):
            vectors = encode.texts([record[field] for record in records])
            result[f"{field} (en) to audio"] = retrieval(vectors, audio)
        for kind, vectors in (("ABC", abc), ("MTF", mtf)):
            result[f"audio to {kind}"] = retrieval(audio, vectors)
            result[f"{kind} to audio"] = retrieval(vectors, audio)
    chosen = [index for index, record in enumerate(records) if record["row"]["collection"] in CLASSES]
    truth = [CLASSES.index(records[index]["row"]["collection"]) for index in chosen]
    for kind, vectors in music.items():
        for language in LANGUAGES if kind == "ABC" else ("en",):
            prompts = encode.texts([prompt_of(name, language) for name in CLASSES])
            result[f"zero-shot collection ({language}), {kind}"] = zero_shot(vectors[chosen], prompts, truth, CLASSES)
    return result


def summary(result: dict[str, Any]) -> str:
    """Return the result as a table for people."""
    lines = [f"{'task':34} {'MRR':>7} {'x chance':>9} {'Hit@1':>7} {'Hit@10':>7}"]
    for name, values in result.items():
        if isinstance(values, dict) and "mrr" in values:
            lines.append(
                f"{name:34} {values['mrr']:7.4f} {values['times_chance']:9.1f} {values['hit@1']:7.4f} "
                f"{values['hit@10']:7.4f}"
            )
    lines.append(f"\n{'zero-shot':34} {'accuracy':>9} {'balanced':>9} {'largest':>9}")
    for name, values in result.items():
        if isinstance(values, dict) and "accuracy" in values:
            lines.append(
                f"{name:34} {values['accuracy']:9.4f} {values['balanced_accuracy']:9.4f} {values['largest_class']:9.4f}"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.jobs.atomic import write_text

    started = time.monotonic()
    model = Clamp3.from_pretrained(args.model, text_model=args.text_model, dtype=args.dtype)
    result = measure(model, args.data_dir, args.limit)
    result["seconds"] = round(time.monotonic() - started, 1)
    print(summary(result))
    if args.json:
        write_text(args.json, json_text(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
