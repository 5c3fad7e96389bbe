"""Measure a model on collections that no training step has seen: prose, zero-shot classes, pairs, composers.

python code/recipes/mini/wider.py COLLECTIONS OUTSIDE_DIR --vgmidi VGMIDI --part outside
python code/recipes/mini/outside.py OUTSIDE_DIR --model mini --json outside.json
python code/recipes/mini/outside.py OUTSIDE_DIR --hums HUMS_DIR --recordings RECORDINGS_DIR --json outside.json

Held out whole are the library of Sandomierz (scores as ABC and MIDI), the lead sheets of half of OpenEWLD's composers
(ABC and MIDI), piano-midi.de (performed piano) and game music (MIDI). All that is ABC is one pool, all MIDI another.

- Prose: queries.tsv, written by hand in 12 languages. Relevant are the pieces of the pool with the concepts of the
  first column (concepts.py, "|" for or); the mean of precision at 10 over the queries that 10 pieces to half of the
  pool answer, beside the share of relevant pieces, which a random order gives.
- Zero-shot: the nearest of one prompt per class (outside_prompts below), balanced accuracy beside one over classes.
- ABC to MIDI and back: the other encoding of the same piece among those of the scores.
- Composer of eight: piano-midi.de, prompts "piano music by NAME".
- With --hums and --recordings what hums.py and recordings.py measure, of sound if the model has an audio tower.
- Speed: processor time on one core of one sentence, and of one tune as ABC, from bytes to vector; the median.
Cosine; ties count against the query. `--quick` takes one piece in eight: a test of the command. Parts that the file of
--json has for the same model are kept, so that an interrupted run goes on. The baseline is titles.py.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `recipes` and `clamp3`, without installation

from clamp3.cli import parser_for, run
from clamp3.formats.tables import json_text

QUICK = 8
TOP = 10
TIMED = 60
CLASSES = {
    "dance": {
        "form:waltz": "a waltz", "form:mazurka": "a mazurka", "form:polonaise": "a polonaise",
        "form:march": "a march", "form:minuet": "a minuet",
    },
    "metre": {"beat:duple": "music in 4/4 or 2/4 time", "beat:triple": "music in 3/4 time",
              "beat:compound": "music in 6/8 time"},
    "mode": {"mode:major": "music in a major key", "mode:minor": "music in a minor key"},
}  # fmt: skip
COMPOSERS = {
    "Chopin": "Frédéric Chopin", "Schubert": "Franz Schubert", "Beethoven": "Ludwig van Beethoven",
    "Schumann": "Robert Schumann", "Mozart": "Wolfgang Amadeus Mozart", "Haydn": "Joseph Haydn",
    "Liszt": "Franz Liszt", "Grieg": "Edvard Grieg",
}  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("outside_dir", type=Path, help="what wider.py --part outside wrote")
    parser.add_argument("--model", default="mini", help="name or path of the weights (default: mini)")
    parser.add_argument("--text_model", help="folder with the tokenizer, if it does not lie beside the weights")
    parser.add_argument("--dtype", default="float32", choices=("auto", "float32", "bfloat16"), help="arithmetic")
    parser.add_argument("--hums", type=Path, help="what hums.py wrote (default: not measured)")
    parser.add_argument("--recordings", type=Path, help="what recordings.py wrote (default: not measured)")
    parser.add_argument("--quick", action="store_true", help="take one piece in eight")
    parser.add_argument("--json", type=Path, help="also write the numbers here, part by part")
    return parser


def read_queries(path: Path | None = None) -> list[tuple[str, str, str]]:
    """Return (language, query, concepts) of every query, language by language."""
    with (path or Path(__file__).with_name("queries.tsv")).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [(language, row[language], row["facts"]) for language in list(rows[0])[1:] for row in rows]


def answers(concepts: Sequence[str], wanted: str) -> bool:
    """Return whether a piece has all that is wanted.

    Parameters
    ----------
    concepts : sequence of str
        Of the piece.
    wanted : str
        Concepts with spaces between; ``a|b`` is one of both.

    Examples
    --------
    >>> answers(["form:waltz", "mode:minor"], "form:waltz|form:minuet mode:minor")
    True
    """
    return all(any(name in concepts for name in part.split("|")) for part in wanted.split())


def precisions(queries: Any, music: Any, concepts: Sequence[Sequence[str]], wanted: Sequence[str]) -> Any:
    """Return an (N, 2) array: precision at 10 and the share of relevant pieces; NaN where too few or many are.

    Parameters
    ----------
    queries, music : arrays, shapes (N, D) and (M, D)
    concepts : sequence of sequences of str
        Of every piece.
    wanted : sequence of str
        Of every query.
    """
    import numpy as np

    from clamp3.index.ranking import unit_rows
    from recipes.mini.evaluate import precision_at

    scores = unit_rows(queries) @ unit_rows(music).T
    found = np.full((len(wanted), 2), np.nan)
    for index, facts in enumerate(wanted):
        relevant = np.array([answers(piece, facts) for piece in concepts])
        if TOP <= relevant.sum() <= len(relevant) / 2:
            found[index] = precision_at(TOP, scores[index], relevant), relevant.mean()
    return found


def prose(encode: Any, music: Any, concepts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return precision at 10 of all queries and by language, the share of relevant pieces, and every intent's mean.

    Parameters
    ----------
    encode : recipes.mini.evaluate.Vectors
    music : array, shape (M, D)
    concepts : sequence of sequences of str
        Of every piece.
    """
    import numpy as np

    queries = read_queries()
    languages, texts, wanted = zip(*queries, strict=True)
    found = precisions(encode.texts(texts), music, concepts, wanted)
    used = ~np.isnan(found[:, 0])
    if not used.any():
        return {"queries": 0}

    def mean(chosen: Any) -> float:
        return round(float(found[used & np.array(chosen), 0].mean()), 4)

    by_language = {name: mean([name == one for one in languages]) for name in dict.fromkeys(languages)}
    asked = dict.fromkeys(facts for facts, one in zip(wanted, used, strict=True) if one)
    return {
        "queries": int(used.sum()),
        "precision_at_10": mean(np.ones(len(queries), bool)),
        "share_relevant": round(float(found[used, 1].mean()), 4),
        "by_language": by_language,
        "against_english": {name: round(value - by_language["en"], 4) for name, value in by_language.items()},
        "by_facts": {facts: mean([facts == one for one in wanted]) for facts in asked},
    }


def classes(encode: Any, music: Any, concepts: Sequence[Sequence[str]], prompts: dict[str, str]) -> dict[str, Any]:
    """Return accuracies of the nearest prompt over the pieces that are of exactly one class.

    Parameters
    ----------
    encode : recipes.mini.evaluate.Vectors
    music : array, shape (M, D)
    concepts : sequence of sequences of str
        Of every piece.
    prompts : dict of str to str
        The prompt of every concept.
    """
    from recipes.mini.evaluate import zero_shot

    names = [name for name in prompts if any(name in piece for piece in concepts)]
    chosen = [index for index, piece in enumerate(concepts) if sum(name in piece for name in names) == 1]
    if len(names) < 2:
        return {"pieces": len(chosen)}
    truth = [next(at for at, name in enumerate(names) if name in concepts[index]) for index in chosen]
    found = zero_shot(music[chosen], encode.texts([prompts[name] for name in names]), truth, names)
    return {**found, "chance": round(1 / len(names), 4)}


def measure(model: Any, folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Return every number of the protocol.

    Parameters
    ----------
    model : clamp3.embedding.clamp3.Clamp3
    folder : Path
        What wider.py wrote.
    quick : bool
        Take one piece in eight.

    Raises
    ------
    DataError
        If there are no pieces, or one of a collection that is not held out.
    """
    from clamp3.errors import DataError
    from recipes.mini.build_data import read_rows
    from recipes.mini.concepts import concepts_of
    from recipes.mini.evaluate import Vectors, retrieval
    from recipes.mini.split import drop_copies
    from recipes.mini.wider import OUTSIDE

    rows = drop_copies(sorted(read_rows(folder / "pieces.jsonl"), key=lambda row: row["id"]))[:: QUICK if quick else 1]
    if not rows:
        raise DataError(f"{folder / 'pieces.jsonl'} is absent or empty; run wider.py first.")
    seen = sorted({row["collection"] for row in rows} - OUTSIDE)
    if seen:
        raise DataError(f"{folder} holds pieces of {', '.join(seen)}, which training may have seen.")
    encode = Vectors(model)
    result: dict[str, Any] = {"model": model.identity, "pieces": len(rows)}
    pools = {"ABC": [row for row in rows if "abc" in row], "MIDI": rows}
    vectors = {}
    for kind, pool in pools.items():
        if not pool:
            continue
        suffix = {"ABC": "abc", "MIDI": "mtf"}[kind]
        vectors[kind] = music = encode([folder / "pieces" / row[suffix] for row in pool])
        concepts = [concepts_of(row) for row in pool]
        result[f"prose, {kind}"] = prose(encode, music, concepts)
        for name, prompts in CLASSES.items():
            result[f"{name}, {kind}"] = classes(encode, music, concepts, prompts)
    piano = [index for index, row in enumerate(rows) if row["collection"] == "piano_performed"]
    prompts = {f"composer:{name}": f"piano music by {full}" for name, full in COMPOSERS.items()}
    result["composer, MIDI"] = classes(
        encode, vectors["MIDI"][piano], [concepts_of(rows[index]) for index in piano], prompts
    )
    both = [index for index, row in enumerate(rows) if "abc" in row]
    if both:
        result["ABC to MIDI"] = retrieval(vectors["ABC"], vectors["MIDI"][both])
        result["MIDI to ABC"] = retrieval(vectors["MIDI"][both], vectors["ABC"])
    return result


def speed(model: Any, folder: Path) -> dict[str, Any]:
    """Return milliseconds of processor time, on one core, that one sentence and one tune take, alone.

    Parameters
    ----------
    model : clamp3.embedding.clamp3.Clamp3
        Without a cache.
    folder : Path
        What wider.py wrote.
    """
    import statistics

    import torch

    from clamp3.formats import Kind
    from recipes.mini.build_data import read_rows

    rows = [row for row in read_rows(folder / "pieces.jsonl") if "abc" in row and row["facts"]["voices"] == 1]
    inputs = {
        "one sentence": [(text.encode(), Kind.TEXT) for _, text, _ in read_queries()][:TIMED],
        "one tune": [((folder / "pieces" / row["abc"]).read_bytes(), Kind.ABC) for row in rows[:TIMED]],
    }
    threads, found = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    try:
        for name, items in inputs.items():
            taken = []
            for item in items:
                started = time.process_time()
                model.encode([item], n_workers=0)
                taken.append(1000 * (time.process_time() - started))
            if taken:
                found[name] = {"milliseconds": round(statistics.median(taken), 2), "inputs": len(taken)}
    finally:
        torch.set_num_threads(threads)
    return found


def summary(result: dict[str, Any]) -> str:
    """Return the result as a table for people: the measure, what chance gives, over how many.

    Below it are the shares in the top ten, every language's distance from English, and times.
    """
    width = max([16, *(len(name) for name in result)])
    lines, rest = [f"{'task':{width}} {'value':>7} {'chance':>7} {'of':>6}"], []
    for name, values in result.items():
        if not isinstance(values, dict):
            continue
        for value, chance, number in (
            ("precision_at_10", "share_relevant", "queries"),
            ("precision_at_5", "share_relevant", "queries"),
            ("balanced_accuracy", "chance", "pieces"),
            ("mrr", "chance_mrr", "references"),
        ):
            if value in values:
                lines.append(f"{name:{width}} {values[value]:7.4f} {values[chance]:7.4f} {values[number]:6.0f}")
        if "hit@10" in values:
            rest.append(f"{name}: {100 * values['hit@10']:.1f}% in the top 10, median rank {values['median_rank']:.0f}")
        if "against_english" in values:
            others = [f"{language} {more:+.3f}" for language, more in values["against_english"].items()]
            rest.append(f"{name}, against English: {' '.join(others[1:])}")
        if "milliseconds" in values:
            rest.append(f"{name}: {values['milliseconds']} ms")
    return "\n".join([*lines, "", *rest])


def parts(model: Any, args: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what is to be measured, by name.

    Parameters
    ----------
    model : clamp3.embedding.clamp3.Clamp3
    args : argparse.Namespace
        Of the command line.
    """
    from recipes.mini import hums, recordings
    from recipes.mini.evaluate import Vectors

    found: dict[str, Callable[[], dict[str, Any]]] = {
        "outside": lambda: measure(model, args.outside_dir, quick=args.quick),
        "speed": lambda: speed(model, args.outside_dir),
    }
    # A model that has no audio tower yet may get one: then what it lacked is measured.
    sound = " with sound" if model.lacks("audio") is None else ""
    if args.hums:
        found[f"hums{sound}"] = lambda: hums.measure(Vectors(model), args.hums)
    if args.recordings and sound:
        found["recordings"] = lambda: recordings.measure(Vectors(model), args.recordings)
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = build_parser().parse_args(argv)
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.formats.tables import read_json
    from clamp3.jobs.atomic import write_text

    model = Clamp3.from_pretrained(args.model, text_model=args.text_model, dtype=args.dtype)
    result: dict[str, Any] = {"model": model.identity, "quick": args.quick, "seconds": {}}
    if args.json and args.json.exists():
        before = read_json(args.json, dict[str, Any])
        if {name: before.get(name) for name in ("model", "quick")} == {"model": model.identity, "quick": args.quick}:
            result = before
    for name, part in parts(model, args).items():
        if name in result["seconds"]:
            continue
        started = time.monotonic()
        result |= part()
        result["seconds"][name] = round(time.monotonic() - started, 1)
        if args.json:
            write_text(args.json, json_text(result, indent=1) + "\n")
    print(summary(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
