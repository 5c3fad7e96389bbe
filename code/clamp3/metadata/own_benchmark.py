"""A benchmark of one's own in WikiMT-X's layout: scores and metadata to texts, translations, BLEU, leaks, review.

The stages are jobs of `clamp3.metadata.job` on files below ``work/``, so each resumes by itself: what was asked before
is not asked again. Everything else in the folder is written anew from them at the end of every run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clamp3.data.records import LONG_TEXTS
from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED, ConfigError, DataError, printable
from clamp3.formats import Kind
from clamp3.formats.tables import json_text
from clamp3.jobs.atomic import write_bytes, write_text
from clamp3.jobs.summary import SHOWN
from clamp3.metadata.benchmark_texts import FourTexts, Translate, similarity_of
from clamp3.metadata.items import Item, answers_to, line_of, write_items
from clamp3.metadata.job import Report, Work, cost_of, do_all, endpoint_of, need_packages
from clamp3.metadata.languages import ENGLISH, language_name, language_pool
from clamp3.metadata.leadsheets import LeftOut, Song, collect, genre_of, read_written
from clamp3.metadata.llm import Endpoint, Usage
from clamp3.metadata.prompts import Message
from clamp3.metadata.review import Texts, as_page, read_review, write_review
from clamp3.retrieval.leaks import shared_records, shared_vectors
from clamp3.sources import Source, digest

# Mean bytes of English texts and of their translations (arXiv 2502.10362, table 1), for estimates.
_MEAN_BYTES = {
    "background": (532, 820),
    "analysis": (770, 1130),
    "description": (592, 889),
    "scene": (751, 1077),
}
_BYTES_PER_TOKEN = 4


@dataclass
class Benchmark:
    """What a run has made so far; ``reports`` and ``bleu`` by stage and by language."""

    songs: list[Song]
    left_out: LeftOut
    leaks: dict[str, list[dict[str, Any]]]
    texts: Texts = field(default_factory=dict)
    translations: dict[str, Texts] = field(default_factory=dict)
    back: dict[str, Texts] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    bleu: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def usage(self) -> Usage:
        """Return the tokens of all stages together."""
        total = Usage()
        for report in self.reports.values():
            total.add(report.usage)
        return total


def make_benchmark(args: argparse.Namespace) -> int:
    """Do what the flags of ``make_benchmark.py`` specify; return the exit code.

    Raises
    ------
    ConfigError
        If a package, the endpoint or a language is missing.
    DataError
        If no song is left.
    Clamp3Error
        If the endpoint stops answering; what is done is kept.
    """
    need_packages("openai", "pydantic", "py3langid", "pycountry", "sacrebleu")
    started = time.monotonic()
    languages = [code for code in language_pool(args.languages) if code != ENGLISH]
    fields = [name for name in LONG_TEXTS if name in args.translate]
    made = _songs(args)
    work = args.output / "work"
    write = FourTexts(max(0, args.show_score))
    if args.dry_run:
        return _plan(args, made, write, [Translate(code, fields) for code in languages])
    endpoint = endpoint_of(args)
    items = write_items(work / "songs.jsonl", made.songs)
    if args.until != "songs":
        if not made.texts:
            made.texts = _stage(made, "texts", write, items, work / "texts.jsonl", endpoint)
        if args.reviewed:
            made.texts = read_review(args.reviewed, made.texts)
    if args.until == "translations":
        back = replace(
            endpoint,
            model=args.back_model or endpoint.model,
            base_url=args.back_base_url or endpoint.base_url,
            key_variable=args.back_key_variable or endpoint.key_variable,
        )
        for code in languages:
            _translate(made, Translate(code, fields), work, endpoint, back)
    _write(args, made, started)
    failed = any(report.failed for report in made.reports.values())
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _songs(args: argparse.Namespace) -> Benchmark:
    """Return the songs, without those that training has seen if they are to be dropped: before anything is paid for."""
    written = args.scores.suffix.lower() == ".jsonl"
    if written and args.metadata:
        raise ConfigError("--metadata is for a folder of scores; a JSONL has all that is known.")
    songs, texts = read_written(args.scores) if written else ([], {})
    left_out: LeftOut = []
    if not written:
        songs, left_out = collect(args.scores, args.metadata)
    songs = songs[: args.limit]
    made = Benchmark(songs, left_out, {"records": [], "vectors": []}, texts)
    if args.training:
        found = shared_records(songs, args.training)
        made.leaks["records"] = [{"id": songs[row["row"] - 1]["id"], **row} for row in found]
    if args.training_vectors:
        made.leaks["vectors"] = _near(args, songs)
    if args.drop_leaks:
        seen = {str(row["id"]) for rows in made.leaks.values() for row in rows}
        made.songs = [song for song in songs if song["id"] not in seen]
        made.left_out += [(song["file"], "training has seen it") for song in songs if song["id"] in seen]
        if not made.songs:
            raise DataError("training has seen every song.")
    made.texts = {song["id"]: texts[song["id"]] for song in made.songs if song["id"] in texts}
    return made


def _near(args: argparse.Namespace, songs: Sequence[Song]) -> list[dict[str, Any]]:
    """Return the songs whose lead sheets have a vector near one of training."""
    import numpy as np

    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.index.vectors import VectorFolder, check_comparable, encode, load_folder
    from clamp3.jobs.cache import VectorCache
    from clamp3.jobs.identity import Identity

    model = Clamp3.from_pretrained(args.checkpoint, cache=VectorCache(None))
    sheets = {str(song["id"]): Source(Kind.ABC, song["id"], data=str(song["leadsheet"]).encode()) for song in songs}
    vectors, _ = encode(list(sheets.values()), model)
    ids = [id for id, sheet in sheets.items() if sheet in vectors]
    weights = {Identity.parse(model.identity).space}
    ours = VectorFolder(ids, np.stack([vectors[sheets[id]] for id in ids]), ["symbolic"] * len(ids), [], [], weights)
    training = load_folder(args.training_vectors)
    check_comparable(ours, training)
    return [{"id": pair["name"], **pair} for pair in shared_vectors(ours, training, args.near)]


def _stage(made: Benchmark, name: str, work: Work, items: list[Item], output: Path, endpoint: Endpoint) -> Texts:
    """Run a job; return the texts of its lines that belong to these items."""
    made.reports[name] = do_all(work, items, output, endpoint)
    found = {str(row.pop("id")): row for row in answers_to(items, output)}
    return {id: {name: str(text) for name, text in row.items()} for id, row in found.items()}


def _translate(made: Benchmark, work: Translate, folder: Path, endpoint: Endpoint, back: Endpoint) -> None:
    code = work.language
    texts = {id: {name: row[name] for name in work.fields} for id, row in made.texts.items()}
    items = write_items(folder / "originals.jsonl", _rows(texts))
    made.translations[code] = _stage(made, code, work, items, folder / f"{code}.jsonl", endpoint)
    # The translator back sees the translation alone.
    items = write_items(folder / f"{code}.translated.jsonl", _rows(made.translations[code]))
    again = Translate(ENGLISH, work.fields)
    made.back[code] = _stage(made, f"{code} back", again, items, folder / f"{code}.back.jsonl", back)
    ids = [id for id in texts if id in made.back[code]]
    if ids:
        made.bleu[code] = {
            name: similarity_of([texts[id][name] for id in ids], [made.back[code][id][name] for id in ids])
            | {"ids": ids}
            for name in work.fields
        }


def _rows(texts: Texts) -> list[dict[str, str]]:
    return [{"id": id, **row} for id, row in texts.items()]


def _write(args: argparse.Namespace, made: Benchmark, started: float) -> None:
    """Write the benchmark, the tables for review, and where everything came from; print a summary."""
    output, songs = args.output, [song for song in made.songs if song["id"] in made.texts]
    files = {"work/songs.jsonl": (output / "work" / "songs.jsonl").read_bytes()}
    if songs:
        rows = [
            {name: song[name] for name in ("id", "title", "artists") if name in song}
            | {"genre": genre_of(song), **made.texts[song["id"]], "leadsheet": song["leadsheet"]}
            for song in songs
        ]
        files["benchmark.jsonl"] = b"".join(map(line_of, rows))
        write_review(output / "review.csv", songs, made.texts)
    for code, texts in made.translations.items():
        if texts:
            files[f"translations/{code}.jsonl"] = b"".join(map(line_of, _rows(texts)))
    for path in (output / "translations").glob("*.jsonl"):  # of languages that an earlier run had
        if f"translations/{path.name}" not in files and (output / "work" / path.name).exists():
            path.unlink()
    for name, data in files.items():
        write_bytes(output / name, data)
    write_text(output / "bleu.json", json_text(made.bleu, indent=1) + "\n")
    write_text(output / "leaks.json", json_text(made.leaks, indent=1) + "\n")
    if songs:
        write_text(output / "review.html", _page(made, songs))
    summary = _summary(args, made)
    manifest = {**summary, "files": {name: digest(data) for name, data in files.items()}, **_origin(args, made)}
    write_text(output / "manifest.json", json_text(manifest, indent=1) + "\n")
    summary["seconds"] = round(time.monotonic() - started, 3)
    print(json_text(summary) if args.json else _text(summary))


def _summary(args: argparse.Namespace, made: Benchmark) -> dict[str, Any]:
    usage = made.usage()
    bleu = {
        code: {name: {key: row[key] for key in ("bleu", "chrf", "texts")} for name, row in rows.items()}
        for code, rows in made.bleu.items()
    }
    stages = {name: asdict(report) for name, report in made.reports.items()}
    for report in stages.values():
        for key in ("usage", "cost", "seconds", "output"):
            del report[key]
    return {
        "output": str(args.output),
        "songs": len(made.songs),
        "with_texts": len(made.texts),
        "left_out": made.left_out,
        "leaks": {name: len({row["id"] for row in rows}) for name, rows in made.leaks.items()},
        "stages": stages,
        "bleu": bleu,
        "usage": asdict(usage),
        "cost": cost_of(usage, args),
    }


def _origin(args: argparse.Namespace, made: Benchmark) -> dict[str, Any]:
    """Return settings and versions, for the manifest; single texts have theirs in ``work/*.provenance.jsonl``."""
    endpoint = endpoint_of(args)
    names = ("metadata", "languages", "translate", "show_score", "training", "training_vectors", "reviewed", "seed")
    signatures = {row[key] for rows in made.bleu.values() for row in rows.values() for key in row if "signature" in key}
    return {
        "settings": {name: _plain(getattr(args, name)) for name in names},
        "model": endpoint.model_name if made.reports else None,
        "endpoint": endpoint.address if made.reports else None,
        "model_back": (args.back_model or endpoint.model_name) if made.back else None,
        "prompts": [FourTexts().prompt.version, Translate(ENGLISH, ()).prompt.version],
        "sacrebleu": sorted(signatures),
        "clamp3": version("clamp3"),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [str(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _text(summary: Mapping[str, Any]) -> str:
    usage = summary["usage"]
    lines = [
        f"{summary['with_texts']} of {summary['songs']} songs have texts; {printable(summary['output'])}",
        f"training has seen {summary['leaks']['records']} by id or title, {summary['leaks']['vectors']} by vector",
        f"{usage['requests']} answers, {usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
        + (f", cost {summary['cost']:.4f}" if summary["cost"] else ""),
    ]
    for code, rows in summary["bleu"].items():
        figures = ", ".join(f"{name} {row['bleu']:.2f} (chrF {row['chrf']:.2f})" for name, row in rows.items())
        lines.append(f"BLEU {code}: {figures}")
    lists = {"left out": summary["left_out"]}
    for stage, report in summary["stages"].items():
        lists |= {f"{stage}, {word}": report[word] for word in ("refused", "failed")}
    for word, rows in lists.items():
        lines += [f"  {word}: {name}: {reason}" for name, reason in rows[:SHOWN]]
        if len(rows) > SHOWN:
            lines.append(f"  ... and {len(rows) - SHOWN} more, see manifest.json")
    return "\n".join(printable(line) for line in lines)


def _page(made: Benchmark, songs: Sequence[Song]) -> str:
    """Return all texts on one page, each song with what the model was given."""
    write = FourTexts(0)
    single = {
        (code, name, id): value
        for code, rows in made.bleu.items()
        for name, row in rows.items()
        for id, value in zip(row["ids"], row["each"], strict=True)
    }

    def section(song: Song) -> tuple[str, str, list[tuple[str, str, str]]]:
        id = str(song["id"])
        rows = [(name, ENGLISH, made.texts[id][name]) for name in LONG_TEXTS]
        for code, texts in made.translations.items():
            for name, text in texts.get(id, {}).items():
                rows.append((f"{name}, {language_name(code)}", code, text))
                if again := made.back.get(code, {}).get(id, {}).get(name):
                    rows.append((f"back (BLEU {single[code, name, id]:.0f})", ENGLISH, again))
        item = Item(id, Path())
        return f"{id}: {song.get('title', '')}", write.preview(item, song)[1]["content"], rows

    return as_page("Texts to review", map(section, songs))


def _plan(args: argparse.Namespace, made: Benchmark, write: FourTexts, translate: Sequence[Translate]) -> int:
    """Print how much there is to ask and what the first request says; ask nobody."""
    first = (translate[0] if made.texts and translate else write).preview(
        Item("", Path()), made.songs[0] | made.texts.get(made.songs[0]["id"], {})
    )
    long = sum(row[0] for row in _MEAN_BYTES.values())
    rows = [] if made.texts else [("texts", len(made.songs), _size(write, made.songs), long)]
    if args.until == "translations":
        for work in translate:
            source, target = (sum(_MEAN_BYTES[name][side] for name in work.fields) for side in (0, 1))
            frame = len(work.prompt.system) + len(work.prompt.user)
            rows += [
                (work.language, len(made.songs), frame + source, target),
                (f"{work.language} back", len(made.songs), frame + target, source),
            ]
    if args.until == "songs":
        rows = []
    counts = {
        name: Usage(n, n * asked // _BYTES_PER_TOKEN, n * said // _BYTES_PER_TOKEN) for name, n, asked, said in rows
    }
    total = Usage()
    for usage in counts.values():
        total.add(usage)
    stages = [{"stage": name, **asdict(usage)} for name, usage in counts.items()]
    plan = {
        "songs": len(made.songs),
        "left_out": made.left_out,
        "leaks": made.leaks,
        "stages": stages,
        "total": asdict(total),
        "cost": cost_of(total, args),
    }
    print(json_text(plan) if args.json else _plan_text(plan, first))
    return EXIT_OK


def _size(work: FourTexts, songs: Sequence[Song]) -> int:
    """Return the mean bytes of the requests for texts."""
    item = Item("", Path())
    sizes = [sum(len(part["content"].encode()) for part in work.preview(item, song)) for song in songs]
    return sum(sizes) // len(sizes)


def _plan_text(plan: Mapping[str, Any], first: Sequence[Message]) -> str:
    lines = [f"--- {part['role']}\n{part['content']}\n" for part in first]
    lines.append(f"{'stage':10}{'requests':>10}{'prompt tokens':>16}{'answer tokens':>16}")
    for row in (*plan["stages"], {"stage": "all", **plan["total"]}):
        lines.append(f"{row['stage']:10}{row['requests']:>10}{row['prompt_tokens']:>16}{row['completion_tokens']:>16}")
    lines.append(
        f"An estimate: {_BYTES_PER_TOKEN} bytes a token, answers as long as M4-RAG's texts, none asked twice"
        + (f"; cost about {plan['cost']:.2f}." if plan["cost"] else ". --price_in and --price_out give a cost.")
    )
    lines += [f"left out: {name}: {reason}" for name, reason in plan["left_out"]]
    return "\n".join(lines)
