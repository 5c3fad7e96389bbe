"""M4-RAG records: title filter, search results, draft, quality check, translation (arXiv 2502.10362).

The paper names these steps; thresholds, prompts and rules are our own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clamp3.formats import Kind
from clamp3.formats.titles import title_of
from clamp3.metadata.answers import Draft, LongTexts, Verdict
from clamp3.metadata.items import Item
from clamp3.metadata.job import Conversation, RefusedError, shown
from clamp3.metadata.languages import M4_RAG, country_name, draw_language, language_name, spoken
from clamp3.metadata.prompts import Message, Prompt, load_prompt
from clamp3.metadata.sources import Result, SavedResults, Search, numbered

MIN_RESULT_CHARACTERS = 200  # of all results together; less cannot identify a piece
PROMPTS = ("record-2", "quality-1", "translate-1")


def _load_prompts() -> dict[str, Prompt]:
    return {name.partition("-")[0]: load_prompt(name) for name in PROMPTS}


@dataclass(frozen=True)
class MakeRecords:
    """The `Work` of ``generate_records.py``.

    Attributes
    ----------
    search : Search
        Where results come from.
    languages : sequence of str
        Codes to draw the language of the translation from; the record's own is excluded.
    seed : int
        Of that draw.
    """

    search: Search
    languages: Sequence[str] = M4_RAG
    seed: int = 42
    prompts: Mapping[str, Prompt] = field(default_factory=_load_prompts)

    @property
    def task(self) -> str:
        """Return prompts and options."""
        pool = "" if set(self.languages) == set(M4_RAG) else f" of {','.join(sorted(self.languages))}"
        versions = " ".join(prompt.version for prompt in self.prompts.values())
        return f"records {versions} {self.search.identity} seed {self.seed}{pool}"

    def content(self, item: Item) -> str:
        """Return the hash of the item and of the results saved for it; results of a live search do not count."""
        if not isinstance(self.search, SavedResults) or item.problem:
            return item.sha256
        results = self.search.of(_names(item, item.load()))
        parts = [item.sha256, *(json.dumps(asdict(result), sort_keys=True) for result in results)]
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def preview(self, item: Item, record: Mapping[str, Any]) -> list[Message]:
        """Return the first request: with saved results if there are any, or a placeholder; see `Work.preview`."""
        query = query_of(record)
        if not isinstance(self.search, SavedResults):
            return self._first(record, query, "(what the search finds)")
        return self._first(record, query, numbered(enough(self.search.of((*_names(item, record), query)))))

    async def make(
        self, item: Item, record: dict[str, Any], talk: Conversation
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a record as training reads it, and its provenance; see `Work.make`."""
        query = query_of(record)
        found = enough(await self.search.find(_names(item, record), query))
        results = numbered(found)
        draft = await talk.ask(self._first(record, query, results), Draft, Draft.draft_problem)
        if not draft.usable:
            raise RefusedError(f"the results do not carry a record: {draft.reason or 'no reason given'}")
        made: dict[str, Any] = {
            "id": str(record.get("id") or item.name.removesuffix(".json")),
            "title": draft.title,
            "artists": draft.artists,
            "region": country_name(draft.region),
            "language": language_name(draft.language),
            "genres": draft.genres,
            "tags": draft.tags,
            **draft.texts(),
        }
        await self._review(made, results, talk)
        if translations := await self._translate(item, draft, talk):
            made["translations"] = translations
        made["filepaths"] = record.get("filepaths") or []
        return made, {
            "prompts": [prompt.version for prompt in self.prompts.values()],
            "query": query,
            "sources": [{"title": result.title, "url": result.url} for result in found],
        }

    def _first(self, record: Mapping[str, Any], query: str, results: str) -> list[Message]:
        return self.prompts["record"].messages(metadata=shown(record), query=query, results=results)

    async def _review(self, made: Mapping[str, Any], results: str, talk: Conversation) -> None:
        fields = {name: value for name, value in made.items() if name != "id"}
        text = json.dumps(fields, ensure_ascii=False, indent=1)
        verdict = await talk.ask(
            self.prompts["quality"].messages(record=text, results=results), Verdict, lambda verdict: ""
        )
        if not verdict.about_music:
            raise RefusedError(f"not about a piece of music: {verdict.reason or made['title']}")
        if not verdict.supported:
            claims = "; ".join(verdict.unsupported[:5])
            raise RefusedError(f"the results do not support it: {claims or verdict.reason}")

    async def _translate(self, item: Item, draft: Draft, talk: Conversation) -> dict[str, str]:
        own = draft.language.casefold()
        pool = [code for code in self.languages if spoken(code) != spoken(own)]
        if not pool:
            return {}
        code = draw_language(item.sha256, self.seed, pool)
        texts = json.dumps(draft.texts(), ensure_ascii=False, indent=1)
        messages = self.prompts["translate"].messages(language=language_name(code), code=code, texts=texts)
        answer = await talk.ask(messages, LongTexts, lambda answer: answer.problem(code))
        return {"language": language_name(code), **answer.texts()}


def query_of(record: Mapping[str, Any]) -> str:
    """Return the search query: the title, then who wrote or performs it.

    Raises
    ------
    RefusedError
        If the title cannot identify a piece: none, a placeholder such as "Untitled" or "Track 3", or without letters.
    """
    title = record.get("title")
    title = title_of(title.encode("utf-8", "replace"), Kind.TEXT) if isinstance(title, str) else ""
    if sum(letter.isalpha() for letter in title) < 2:
        raise RefusedError(f"the title {record.get('title')!r} names no piece")
    who = record.get("artists") or record.get("composer") or []
    names = [who] if isinstance(who, str) else [name for name in who if isinstance(name, str)]
    return " ".join(" ".join([title, *names[:3]]).split())


def enough(results: list[Result]) -> list[Result]:
    """Return the results, or raise `RefusedError` if there is next to no text in them."""
    if not results:
        raise RefusedError("no search results")
    size = sum(len(result.text) for result in results)
    if size < MIN_RESULT_CHARACTERS:
        raise RefusedError(f"the search results have only {size} characters")
    return results


def _names(item: Item, record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names under which results of an item may be saved, the most specific first."""
    names = [str(record.get("id") or ""), item.name, item.name.removesuffix(".json")]
    title = record.get("title")
    return tuple(dict.fromkeys(name for name in [*names, title if isinstance(title, str) else ""] if name))
