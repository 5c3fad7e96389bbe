"""The forms that a language model fills in, with checks of the rules that a JSON schema cannot express.

The docstrings of the forms are part of the schema that is sent.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, create_model

from clamp3.data.records import LONG_TEXTS
from clamp3.metadata.detect import language_problem
from clamp3.metadata.languages import ENGLISH, country_name, language_name

MIN_BYTES, MAX_BYTES = 60, 6000  # of a text; the paper's means lie between 530 and 1130 (arXiv 2502.10362, table 1)

Text = Annotated[str, AfterValidator(str.strip)]
Texts = Annotated[list[Text], AfterValidator(lambda values: [value for value in dict.fromkeys(values) if value])]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Summary(_Answer):
    """One piece in a few sentences, in English and in another language."""

    enough: bool
    reason: Text
    summary_en: Text
    summary_nen: Text

    def problem(self, code: str) -> str:
        """Return why the texts cannot be used with the second one in the language ``code``, "" if they can."""
        if not self.enough:
            return ""
        wanted = {"summary_en": (self.summary_en, ENGLISH), "summary_nen": (self.summary_nen, code)}
        return _first_problem(wanted)


class _WithTexts:
    """What the forms with the four long texts share; the order of fields, in which models write, is each form's own."""

    def texts(self) -> dict[str, str]:
        """Return the four texts by their names."""
        return {name: getattr(self, name) for name in LONG_TEXTS}

    def problem(self, code: str) -> str:
        """Return why the texts cannot be used as texts in a language, "" if they can."""
        return _first_problem({name: (text, code) for name, text in self.texts().items()})


class LongTexts(_WithTexts, _Answer):
    """The four texts of an M4-RAG record."""

    background: Text
    analysis: Text
    description: Text
    scene: Text


class Described(_WithTexts, _Answer):
    """The four texts of a piece, or why there are none."""

    enough: bool
    reason: Text
    background: Text
    analysis: Text
    description: Text
    scene: Text


class _Translation(_Answer):
    def problem(self, code: str) -> str:
        """Return why the texts cannot be used as texts in a language, "" if they can."""
        return _first_problem({name: (text, code) for name, text in self.model_dump().items()})


@functools.cache
def translation_form(names: tuple[str, ...]) -> type[_Translation]:
    """Return the form of some of the four texts in another language."""
    fields: dict[str, Any] = {name: (Text, ...) for name in names}
    return create_model("Translation", __base__=_Translation, __doc__="Texts in another language.", **fields)


class Rewritten(_Answer):
    """A caption in other words."""

    caption: Text


class Draft(_WithTexts, _Answer):
    """A record as the model writes it; region and language are ISO codes."""

    usable: bool
    reason: Text
    title: Text
    artists: Texts
    region: Text
    language: Text
    genres: Texts
    tags: Texts
    background: Text
    analysis: Text
    description: Text
    scene: Text

    def draft_problem(self) -> str:
        """Return why the record cannot be used, "" if it can or is marked as unusable by the model."""
        if not self.usable:
            return ""
        missing = [
            name for name in ("title", "artists", "region", "language", "genres", "tags") if not getattr(self, name)
        ]
        if missing:
            return f"{' and '.join(missing)} must not be empty"
        if len(self.region) != 2 or not country_name(self.region):
            return f"region: {self.region!r} is no code of ISO 3166-1 alpha-2"
        if not language_name(self.language):
            return f"language: {self.language!r} is no code of ISO 639"
        return self.problem(self.language.casefold())


class Verdict(_Answer):
    """Whether a record is fit to be published."""

    about_music: bool
    supported: bool
    unsupported: Texts
    reason: Text


def _first_problem(texts: Mapping[str, tuple[str, str]]) -> str:
    """Return what is wrong with the first of several texts, given with their languages, "" if nothing is."""
    problems = ((name, length_problem(text) or language_problem(text, code)) for name, (text, code) in texts.items())
    return next((f"{name}: {problem}" for name, problem in problems if problem), "")


def length_problem(text: str) -> str:
    """Return "" for a text of usable length, else what is wrong with it."""
    size = len(text.encode("utf-8", "replace"))
    if size < MIN_BYTES:
        return f"only {size} bytes; at least {MIN_BYTES} are wanted"
    return f"{size} bytes; at most {MAX_BYTES} are wanted" if size > MAX_BYTES else ""
