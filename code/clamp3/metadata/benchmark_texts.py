"""The works of a benchmark of one's own: four texts per song, their translations and back-translations, captions."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clamp3.metadata.answers import Described, Rewritten, translation_form
from clamp3.metadata.detect import language_problem
from clamp3.metadata.items import Item
from clamp3.metadata.job import Conversation, RefusedError, shown
from clamp3.metadata.languages import ENGLISH, language_name
from clamp3.metadata.leadsheets import names_of
from clamp3.metadata.prompts import Message, Prompt, load_prompt

MAX_RUN = 5  # words in a row that a rewritten caption may share with the original
_NOBODY = frozenset({"traditional", "trad", "anonymous", "anon", "unknown", "various", "folk"})


@dataclass(frozen=True)
class FourTexts:
    """The `Work` that writes the four texts.

    Attributes
    ----------
    n_characters : int
        How much of the lead sheet the model sees.
    """

    n_characters: int = 2000
    prompt: Prompt = field(default_factory=lambda: load_prompt("benchmark-1"))

    @property
    def task(self) -> str:
        """Return prompt and options."""
        return f"benchmark {self.prompt.version} score {self.n_characters}"

    def content(self, item: Item) -> str:
        """Return the hash of the item."""
        return item.sha256

    def preview(self, item: Item, record: Mapping[str, Any]) -> list[Message]:
        """Return the request; see `Work.preview`."""
        known = {name: value for name, value in record.items() if name not in ("file", "leadsheet")}
        score = str(record["leadsheet"])
        cut = score[: self.n_characters] + "…" * (len(score) > self.n_characters)
        return self.prompt.messages(metadata=shown(known), score=cut if self.n_characters else "(not shown)")

    async def make(
        self, item: Item, record: dict[str, Any], talk: Conversation
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return id and texts, and as provenance also what the model was given; see `Work.make`."""
        messages = self.preview(item, record)
        title, people = names_of(record)

        def check(answer: Described) -> str:
            if not answer.enough:
                return ""
            return answer.problem(ENGLISH) or gives_away(answer.description, title, people)

        answer = await talk.ask(messages, Described, check)
        if not answer.enough:
            raise RefusedError(f"too little is known: {answer.reason or 'no reason given'}")
        given = {"prompts": [self.prompt.version], "given": messages[1]["content"]}
        return {"id": record["id"], **answer.texts()}, given


@dataclass(frozen=True)
class Translate:
    """The `Work` that translates texts of a benchmark into one language; their translations back into English, too.

    Attributes
    ----------
    language : str
        Code of the target.
    fields : sequence of str
        Of the four texts.
    """

    language: str
    fields: Sequence[str]
    prompt: Prompt = field(default_factory=lambda: load_prompt("translate_text-1"))

    @property
    def task(self) -> str:
        """Return prompt and options."""
        return f"translate {self.prompt.version} into {self.language} {','.join(self.fields)}"

    def content(self, item: Item) -> str:
        """Return the hash of the item."""
        return item.sha256

    def preview(self, item: Item, record: Mapping[str, Any]) -> list[Message]:
        """Return the request; see `Work.preview`."""
        texts = json.dumps({name: record[name] for name in self.fields}, ensure_ascii=False, indent=1)
        return self.prompt.messages(language=language_name(self.language), code=self.language, texts=texts)

    async def make(
        self, item: Item, record: dict[str, Any], talk: Conversation
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return id and translated texts; see `Work.make`."""
        form = translation_form(tuple(self.fields))
        answer = await talk.ask(self.preview(item, record), form, lambda answer: answer.problem(self.language))
        return {"id": record["id"], **answer.model_dump()}, {"prompts": [self.prompt.version]}


@dataclass(frozen=True)
class Rewrite:
    """The `Work` of ``rewrite_captions.py``: rows of ``id`` and ``caption``."""

    prompt: Prompt = field(default_factory=lambda: load_prompt("rewrite-1"))

    @property
    def task(self) -> str:
        """Return the prompt."""
        return f"rewrite {self.prompt.version}"

    def content(self, item: Item) -> str:
        """Return the hash of the item."""
        return item.sha256

    def preview(self, item: Item, record: Mapping[str, Any]) -> list[Message]:
        """Return the request; see `Work.preview`."""
        return self.prompt.messages(caption=str(record["caption"]))

    async def make(
        self, item: Item, record: dict[str, Any], talk: Conversation
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return id, new caption and original; see `Work.make`."""
        before = str(record["caption"])
        answer = await talk.ask(
            self.preview(item, record), Rewritten, lambda answer: rewriting_problem(before, answer.caption)
        )
        made = {"id": record["id"], "caption": answer.caption, "original": before}
        return made, {"prompts": [self.prompt.version]}


def gives_away(description: str, title: str, people: Sequence[str]) -> str:
    """Return which name a description gives away, "" if none.

    Parameters
    ----------
    description : str
    title : str
        Looked for as a whole; one of a single word, such as Waltz, may be a word for what it is.
    people : sequence of str
        Looked for as a whole and by their last word.

    Examples
    --------
    >>> gives_away("A sad song that Foster wrote.", "Hard Times Come Again", ["Stephen Foster"])
    'description gives away the name Foster'
    >>> gives_away("A waltz in three.", "Waltz", ["traditional"])
    ''
    """
    words = [title] if len(title.split()) > 1 else []
    for name in people:
        last = (re.findall(r"[^\W\d_]{4,}", name) or [""])[-1]
        words += [name, last] if last and last.casefold() not in _NOBODY else []
    for name in words:
        if re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", description.casefold()):
            return f"description gives away the name {name}"
    return ""


def rewriting_problem(before: str, after: str) -> str:
    """Return why a rewritten caption cannot be used, "" if it can.

    Parameters
    ----------
    before, after : str

    Examples
    --------
    >>> rewriting_problem("A slow sad song at 60 bpm", "At 60 bpm this unhurried tune mourns")
    ''
    >>> rewriting_problem("A slow sad song at 60 bpm", "This unhurried tune mourns all day")
    'numbers differ from the original: 60 is lost'
    """
    old, new = (re.findall(r"[\w']+", text.casefold()) for text in (before, after))
    if not 0.5 <= len(new) / max(1, len(old)) <= 2:
        return f"it has {len(new)} words, the original {len(old)}"
    numbers = [{word for word in words if any(letter.isdecimal() for letter in word)} for words in (old, new)]
    if lost := sorted(numbers[0] - numbers[1]):
        return f"numbers differ from the original: {', '.join(lost)} is lost"
    if added := sorted(numbers[1] - numbers[0]):
        return f"numbers differ from the original: {', '.join(added)} is new"
    runs = {tuple(old[at : at + MAX_RUN + 1]) for at in range(len(old) - MAX_RUN)}
    kept = next((run for at in range(len(new)) if (run := tuple(new[at : at + MAX_RUN + 1])) in runs), None)
    return f'it keeps words of the original: "{" ".join(kept)}"' if kept else language_problem(after, ENGLISH)


@functools.cache
def _metrics() -> tuple[Any, Any, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    return BLEU(), BLEU(effective_order=True), CHRF()


def similarity_of(originals: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    """Return BLEU and chrF of texts against originals, by sacrebleu, with their signatures, and BLEU text by text.

    Parameters
    ----------
    originals, others : sequence of str
        Pairwise.

    Examples
    --------
    >>> found = similarity_of(["A slow song in G major."], ["A slow song in G major."])
    >>> round(found["bleu"], 2), round(found["chrf"], 2), found["texts"]
    (100.0, 100.0, 1)
    """
    corpus, single, characters = _metrics()
    bleu = corpus.corpus_score(list(others), [list(originals)])
    chrf = characters.corpus_score(list(others), [list(originals)])
    each = [round(float(single.sentence_score(b, [a]).score), 2) for a, b in zip(originals, others, strict=True)]
    return {
        **{"bleu": round(float(bleu.score), 2), "chrf": round(float(chrf.score), 2), "texts": len(originals)},
        **{"bleu_signature": str(corpus.get_signature()), "chrf_signature": str(characters.get_signature())},
        "each": each,
    }
