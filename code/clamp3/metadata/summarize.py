"""Summaries of metadata in English and one other language, as in the training of CLaMP 2 (arXiv 2410.13267)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clamp3.metadata.answers import Summary
from clamp3.metadata.items import Item
from clamp3.metadata.job import NOT_SHOWN, Conversation, RefusedError, shown
from clamp3.metadata.languages import LANGUAGES, draw_language, language_name
from clamp3.metadata.prompts import Message, Prompt, load_prompt

PROMPT = "summarize-1"
NOT_MUSIC = NOT_SHOWN | {"title", "language", "region"}  # a title alone says too little about the music


@dataclass(frozen=True)
class Summarize:
    """The `Work` of ``summarize.py``.

    Attributes
    ----------
    languages : sequence of str
        Codes to draw the second language from.
    seed : int
        Of that draw.
    """

    languages: Sequence[str] = tuple(LANGUAGES)
    seed: int = 42
    prompt: Prompt = field(default_factory=lambda: load_prompt(PROMPT))

    @property
    def task(self) -> str:
        """Return prompt and options."""
        pool = "" if set(self.languages) == set(LANGUAGES) else f" of {','.join(sorted(self.languages))}"
        return f"summarize {self.prompt.version} seed {self.seed}{pool}"

    def content(self, item: Item) -> str:
        """Return the hash of the item."""
        return item.sha256

    def preview(self, item: Item, record: Mapping[str, Any]) -> list[Message]:
        """Return the request; raise `RefusedError` if nothing describes the music. See `Work.preview`."""
        if not any(_has_words(value) for name, value in record.items() if name not in NOT_MUSIC):
            raise RefusedError("no metadata about the music besides a title")
        code = self._draw(item)
        return self.prompt.messages(language=language_name(code), code=code, metadata=shown(record))

    async def make(
        self, item: Item, record: dict[str, Any], talk: Conversation
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the record with ``summary_en`` and ``summary_nen``, its other keys unchanged; see `Work.make`."""
        code = self._draw(item)
        answer = await talk.ask(self.preview(item, record), Summary, lambda answer: answer.problem(code))
        if not answer.enough:
            raise RefusedError(f"not enough about the music: {answer.reason or 'no reason given'}")
        summary_nen = {"language": language_name(code), "summary": answer.summary_nen}
        made = {**record, "summary_en": answer.summary_en, "summary_nen": summary_nen}
        return made, {"prompts": [self.prompt.version], "language": code}

    def _draw(self, item: Item) -> str:
        return draw_language(item.sha256, self.seed, self.languages)


def _has_words(value: Any) -> bool:
    if isinstance(value, list):
        return any(_has_words(part) for part in value)
    return isinstance(value, str) and any(letter.isalpha() for letter in value)
