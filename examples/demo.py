"""Search real scores, MIDI files and recordings by words, by a score and by a recording; offline, in three minutes.

    make demo
    python examples/demo.py --n_pieces 60 --folder demo_out
    python examples/demo.py --model saas

The pieces come with music21 (Bach, Palestrina, quartets, Irish, Scottish, American, Chinese and European tunes); the
shipped mini model was trained on none of them. They are written as raw files (MusicXML, .mxl, kern, MIDI), converted,
encoded and ranked. Recordings are the clips beside this file, rendered from pieces of the same kind. The last lines
report the quality: every piece is looked for by a description of its notes, and every clip's score by its sound.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clamp3.cli import EXIT_OK, parser_for, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from clamp3.embedding.clamp3 import Clamp3

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = (
    ("English", "a lively Irish jig in 6/8"),
    ("German", "ein geistlicher Choral von Johann Sebastian Bach für vier Stimmen"),
    ("Chinese", "中国民歌"),
)
CLIPS = ROOT / "examples/clips"
CLIP_QUESTION = "an Irish reel"
CHUNK = 6  # pieces a worker writes at once; every third piece becomes MIDI, so a multiple of 3


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = parser_for(__doc__)
    parser.add_argument("--model", default="mini", help="mini, saas, c2 or a checkpoint (default: %(default)s)")
    parser.add_argument("--text_model", help="folder or name of the text tower's tokenizer, if not the model's own")
    parser.add_argument("--n_pieces", type=int, default=120, help="how many pieces to search (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo_out", help="where the files go")
    parser.add_argument("--top_k", type=int, default=5, help="how many answers per question (default: %(default)s)")
    return parser


def write_chunk(works: list[Any], folder: Path) -> list[dict[str, Any]]:
    """Write a few pieces as raw files; runs in a worker process. Returns their records."""
    from recipes.mini.heldout import write_examples

    return write_examples(works, folder)


def write_music(n_pieces: int, folder: Path) -> list[dict[str, Any]]:
    """Write held-out pieces of music21's corpus below ``folder`` and return their records, ordered by file name."""
    from clamp3.jobs.parallel import process_map
    from recipes.mini.heldout import heldout_examples

    works = heldout_examples(n_pieces)
    chunks = [works[start : start + CHUNK] for start in range(0, len(works), CHUNK)]
    records: list[dict[str, Any]] = []
    for outcome in process_map(functools.partial(write_chunk, folder=folder), chunks, desc="writing files"):
        if outcome.error is not None:
            print(f"left out {len(chunks[outcome.index])} pieces: {outcome.error}", file=sys.stderr)
        records += outcome.value or []
    return sorted(records, key=lambda record: str(record["filepaths"][0]))


def show_answers(
    clamp3: Clamp3, question: Any, folder: Path, titles: dict[str, str], top_k: int
) -> list[tuple[str, str]]:
    """Ask, print the best answers with titles, and return what failed."""
    from dataclasses import replace

    from clamp3.index.render import as_table
    from clamp3.index.search import ask

    started = time.monotonic()
    answer = ask(clamp3, question, folder, top_k=top_k)
    print(as_table([replace(hit, title=titles.get(hit.name, hit.title)) for hit in answer.hits]))
    print(f"      ({answer.n_references} files, {answer.n_cached} known already, {time.monotonic() - started:.1f} s)\n")
    return answer.failures


def evaluate(clamp3: Clamp3, records: list[dict[str, Any]], folder: Path) -> Iterator[str]:
    """Yield how well a piece is found by the English lines of its ``analysis``, and a clip's score by its sound."""
    import numpy as np

    from clamp3.formats import Kind

    music = clamp3.encode([folder / record["filepaths"][0] for record in records])
    texts = clamp3.encode([(record["analysis"].encode("utf-8"), Kind.TEXT) for record in records])
    kept = np.flatnonzero(music.ok & texts.ok)
    yield f"text to music: {numbers(texts.vectors[kept], music.vectors[kept], np.arange(len(kept)))}"
    if clamp3.lacks("audio") is None:
        names = [record["id"] for record in records]
        clips = [clip for clip in sorted(CLIPS.glob("*.ogg")) if clip.stem in names]
        sounds = clamp3.encode(clips)
        truth = np.array([names.index(clip.stem) for clip in clips])
        yield f"clip to score: {numbers(sounds.vectors, music.vectors, truth)}"


def numbers(queries: np.ndarray, references: np.ndarray, truth: np.ndarray) -> str:
    """Return the metrics of queries (Q, D) whose answers are rows ``truth`` of references (N, D), as a sentence."""
    from clamp3.retrieval.cosine import cosine_ranks
    from clamp3.retrieval.metrics import evaluate as metrics_of

    n = len(references)
    found = metrics_of(cosine_ranks(queries, references, truth), n, hits=(1, 10))
    return (
        f"{len(queries)} queries, {n} pieces never trained on: MRR {found['mrr']:.3f} "
        f"(chance {found['chance_mrr']:.3f}, {found['times_chance']:.1f} times), "
        f"Hit@1 {found['hit@1']:.1%} (chance {1 / n:.1%}), Hit@10 {found['hit@10']:.1%} (chance {min(1.0, 10 / n):.1%})"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit code."""
    args = build_parser().parse_args(argv)
    sys.path.insert(0, str(ROOT / "code"))  # the recipes are no part of the installed package
    started = time.monotonic()
    music = args.folder / "music"
    records = write_music(args.n_pieces, music)
    # A second encoding of one piece, outside the searched folder: the score of what is only MIDI in there.
    performed = next(record for record in records if record["filepaths"][0].endswith(".mid"))
    query = write_query(performed, args.folder / "query")
    titles = {record["filepaths"][0]: f"{record['title']} ({', '.join(record['artists'])})" for record in records}

    from clamp3.embedding.clamp3 import Clamp3

    clamp3 = Clamp3.from_pretrained(args.model, text_model=args.text_model, cache=args.folder / "vectors.sqlite")
    print(f"{len(records)} pieces in {music}, model {clamp3.identity}\n")
    failures: list[tuple[str, str]] = []
    for language, question in QUESTIONS:
        print(f'{language}: "{question}"')
        failures += show_answers(clamp3, question, music, titles, args.top_k)
    print(f"score: {query}, which is in the folder as {performed['filepaths'][0]} only")
    failures += show_answers(clamp3, query, music, titles, args.top_k)
    if clamp3.lacks("audio") is None:
        failures += search_clips(clamp3, records, music, titles, args.top_k)
    for line in evaluate(clamp3, records, music):
        print(line)
    print(f"in {time.monotonic() - started:.0f} s; ask your own:")
    print(f'  python retrieval/clamp3_search.py "a slow minor song" {music}')
    for name, reason in sorted(set(failures)):
        print(f"left out: {name}: {reason}", file=sys.stderr)
    return EXIT_OK


def search_clips(
    clamp3: Clamp3, records: list[dict[str, Any]], music: Path, titles: dict[str, str], top_k: int
) -> list[tuple[str, str]]:
    """Ask the clips by text, then look for the score of one of them; return what failed."""
    by_id = {record["id"]: record for record in records}
    clips = {clip.name: titles.get(by_id[clip.stem]["filepaths"][0], "") for clip in CLIPS.glob("*.ogg")
             if clip.stem in by_id}  # fmt: skip
    print(f'English, in recordings: "{CLIP_QUESTION}"')
    failures = show_answers(clamp3, CLIP_QUESTION, CLIPS, clips, top_k)
    clip = min(clips)
    print(f"recording: {CLIPS.name}/{clip}, which is in the folder as {by_id[Path(clip).stem]['filepaths'][0]}")
    return failures + show_answers(clamp3, CLIPS / clip, music, titles, top_k)


def write_query(record: dict[str, Any], folder: Path) -> Path:
    """Write the score of a piece that was written as MIDI; return its path."""
    from recipes.mini.heldout import corpus_root, heldout_works
    from recipes.mini.pieces import musicxml_of

    work = next(work for work in heldout_works() if work.id == record["id"])
    path = folder / f"{work.id}.musicxml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(musicxml_of(work, corpus_root()))
    return path


if __name__ == "__main__":
    raise SystemExit(run(main))
