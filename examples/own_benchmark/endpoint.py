"""A server that speaks OpenAI's protocol and is no language model: it answers from facts and a table of phrases.

    python examples/own_benchmark/endpoint.py --port 8765

It stands in for a model in docs/own_benchmark.md, so that every step of preprocessing/text/make_benchmark.py runs
offline and gives the same figures everywhere. Texts are sentences of code/recipes/mini about the facts of a song, which
it reads from the prompt (songs.py put them there). It translates such sentences of `analysis`, and nothing else, word
by word: into French, Spanish and Chinese by mini's own words, into Russian, Arabic, Finnish, Greek, Tamil, Kazakh and
Amharic by phrases.tsv; back into English from the translation alone. What a language says in fewer ways than English is
lost on the way, which is all that its BLEU shows.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import random
import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "code"))  # `clamp3` and `recipes`, without installation

from clamp3.cli import EXIT_OK, parser_for, run
from recipes.mini import lexicon
from recipes.mini.records import FIELDS, lines_of, note_name, words_of
from recipes.mini.templates import PICK_UPS, TEMPLATES, TEXTURES, UNMEASURED

MINI = ("en", "fr", "es", "zh")
_KEY = {"zh": "{tonic}{mode}"}  # elsewhere with a space
_NOTES = [letter + sign for letter in "CDEFGAB" for sign in ("", "#", "b", "##", "bb")]
_TABLES = {"leap": "interval", "shortest": "length"}


@functools.cache
def phrases() -> dict[tuple[str, str], dict[str, str]]:
    """Return the rows of phrases.tsv by table and key."""
    with open(Path(__file__).with_name("phrases.tsv"), encoding="utf-8", newline="") as stream:
        return {(row["table"], row["key"]): row for row in csv.DictReader(stream, delimiter="\t")}


@functools.cache
def lines_in(language: str) -> tuple[tuple[str, ...], ...]:
    """Return the sentences of an analysis in a language, each with its phrasings, in one order for all languages."""
    if language in MINI:
        return (*TEMPLATES[language]["analysis"], (UNMEASURED[language],), (PICK_UPS[language],))
    return tuple((phrases()["line", key][language],) for key in ("0", "1", "2", "3", "4", "unmeasured", "pickup"))


@functools.cache
def words(table: str, language: str) -> dict[str, str]:
    """Return a table's words of a language by key."""
    if language in MINI:
        return {key: lexicon.word(table, key, language) for key in lexicon.keys(table)}
    return {key: row[language] for (name, key), row in phrases().items() if name == table}


@functools.cache
def notes(language: str) -> dict[str, str]:
    """Return the names of notes in a language by their English ones; phrases.tsv's languages use letters."""
    return {name: note_name(name, language if language in MINI else "en") for name in _NOTES}


def textures(language: str) -> tuple[str, str]:
    """Return how a language says one voice, and several."""
    if language in MINI:
        return TEXTURES[language]
    return words("texture", language)["alone"], words("texture", language)["several"]


def key_of(table: dict[str, str], fits: Callable[[str], bool]) -> str:
    """Return the key of the longest word that fits; raise `StopIteration` if none does."""
    return next(key for key, word in sorted(table.items(), key=lambda pair: -len(pair[1])) if fits(word))


def replaced(text: str, source: dict[str, str], target: dict[str, str]) -> str:
    """Return a text with every word of one table as the other has it, the longest first."""
    order = sorted((key for key in source if source[key]), key=lambda key: -len(source[key]))
    back = {source[key]: target[key] for key in reversed(order)}
    return re.sub("|".join(re.escape(source[key]) for key in order), lambda found: back[found[0]], text)


def slot(name: str, text: str, source: str, target: str) -> str:
    """Return what fills a brace of a sentence in another language."""
    if name in ("metre", "bars", "steps"):
        return text
    if name == "key":
        mode = key_of(words("mode", source), text.endswith)
        tonic = text.removesuffix(words("mode", source)[mode]).strip()
        return _KEY.get(target, "{tonic} {mode}").format(
            tonic=replaced(tonic, notes(source), notes(target)), mode=words("mode", target)[mode]
        )
    if name == "texture":
        alone, several = textures(target)
        count = re.search(r"\d+", text)
        return several.format(count[0]) if count else alone
    if name in ("leap", "shortest"):
        return words(_TABLES[name], target)[key_of(words(_TABLES[name], source), lambda word: word == text)]
    if name == "contour":
        return replaced(text, words("contour", source), words("contour", target))
    return replaced(text, notes(source), notes(target))  # low, high, opening, last


def translate(line: str, source: str, target: str) -> str:
    """Return a sentence of an analysis in another language; raise `LookupError` if it is none."""
    for number, phrasings in enumerate(lines_in(source)):
        for at, phrasing in enumerate(phrasings):
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(phrasing))
            if found := re.fullmatch(pattern, line):
                there = lines_in(target)[number]
                filled = {name: slot(name, text, source, target) for name, text in found.groupdict().items()}
                return there[min(at, len(there) - 1)].format(**filled)
    raise LookupError(line)


def language_of(text: str) -> str:
    """Return the language whose sentence a text begins with."""
    for language in (*MINI, *list(phrases()["line", "0"])[2:]):
        try:
            translate(text.splitlines()[0], language, "en")
        except (LookupError, StopIteration):
            continue
        return language
    raise LookupError(text)


def write_texts(song: dict[str, Any]) -> dict[str, Any]:
    """Return the four texts of a song with the facts that songs.py wrote."""
    song = {**song, "id": song["title"]}  # by which mini's recipe draws among phrasings; ids are not shown to models
    rng = random.Random(song["id"])
    said = words_of(song, "en", rng)
    scene = "\n".join(text.format_map(said) for text in TEMPLATES["en"]["scene"][0])
    background = f"{song['title']}, {' and '.join(song['artists'])}\n{lines_of(song, 'background', 'en')}"
    texts = {name: lines_of(song, name, "en") for name in FIELDS} | {"scene": scene, "background": background}
    return {"enough": True, "reason": "", **texts}


def answer(messages: list[dict[str, str]]) -> dict[str, Any]:
    """Return the answer to a request of make_benchmark.py."""
    asked = messages[1]["content"]
    if found := re.search(r"Known of the piece:\n(.*)\n\nIts score:", asked, re.DOTALL):
        return write_texts(json.loads(found[1]))
    target = re.search(r"ISO 639: (\w+)", asked)[1]  # type: ignore[index]
    texts = json.loads(asked.partition("):\n")[2])
    return {
        name: "\n".join(translate(line, language_of(text), target) for line in text.splitlines())
        for name, text in texts.items()
    }


class Handler(BaseHTTPRequestHandler):
    """Answers POST …/chat/completions."""

    def do_POST(self) -> None:
        """Answer one request; what it cannot answer is an error 400 with the reason."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            content, status = json.dumps(answer(body["messages"]), ensure_ascii=False), 200
        except (LookupError, ValueError, TypeError, StopIteration) as error:
            content, status = f"{type(error).__name__}: {error}", 400
        n_asked = sum(len(part["content"]) for part in body["messages"]) // 4
        reply: dict[str, Any] = {
            "id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": n_asked, "completion_tokens": len(content) // 4, "total_tokens": 0},
        }  # fmt: skip
        data = json.dumps(reply if status == 200 else {"error": {"message": content}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def serve(port: int, ready: Callable[[ThreadingHTTPServer], object] = lambda server: None) -> None:
    """Serve on this computer until interrupted; port 0 takes a free one."""
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        ready(server)
        print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
        server.serve_forever()


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = parser_for(__doc__)
    parser.add_argument("--port", type=int, default=8765, help="default: %(default)s; 0 = any free one")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve; return the exit code."""
    serve(build_parser().parse_args(argv).port)
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
