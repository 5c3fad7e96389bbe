"""What clients send, checked before anything is done with it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clamp3.index.playlist import MAX_PIECES
from clamp3.index.question import MAX_CHARACTERS, MAX_PARTS, MAX_TOP_K

Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
Short = Annotated[str, Field(max_length=2000)]
Id = Annotated[str, Field(min_length=1, max_length=8000)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Bar = Annotated[int, Field(ge=1, le=1_000_000)]
Count = Annotated[int, Field(ge=1, le=MAX_TOP_K)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Part(_Strict):
    """One part of a question: a text, a piece of the index or an upload, with a weight."""

    text: Text | None = None
    item: Id | None = None
    upload: Id | None = None
    weight: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = 1.0
    start_sec: Seconds | None = None
    end_sec: Seconds | None = None
    first_bar: Bar | None = None
    last_bar: Bar | None = None

    @model_validator(mode="after")
    def _one(self) -> Part:
        if sum(each is not None for each in (self.text, self.item, self.upload)) != 1:
            raise ValueError("a part has exactly one of text, item and upload")
        ends = (self.start_sec, self.end_sec, self.first_bar, self.last_bar)
        given = [end is not None for end in ends]
        if self.item is None and any(given):
            raise ValueError("only an item has a start and an end")
        if any(given[:2]) and any(given[2:]):
            raise ValueError("a stretch is in seconds or in bars")
        if self.start_sec is not None and self.end_sec is not None and self.end_sec <= self.start_sec:
            raise ValueError("the end comes after the start")
        if self.first_bar is not None and self.last_bar is not None and self.last_bar < self.first_bar:
            raise ValueError("the last bar is not before the first")
        return self


Parts = Annotated[list[Part], Field(min_length=1, max_length=MAX_PARTS)]


class Search(_Strict):
    """A question."""

    parts: Annotated[list[Part], Field(max_length=MAX_PARTS)] = []
    axis: tuple[Text, Text] | None = None
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    where: Short | None = None
    kinds: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=20)] = []
    passages: bool = False
    top_k: Count = 10
    words: bool = True
    min_score: Annotated[float, Field(ge=-1, le=1)] = -1.0

    @model_validator(mode="after")
    def _something(self) -> Search:
        if not self.parts and self.axis is None:
            raise ValueError("a question has parts or an axis")
        return self


class Texts(_Strict):
    """Texts to be encoded."""

    texts: Annotated[list[Text], Field(min_length=1, max_length=64)]


class Similarity(_Strict):
    """Two parts to be compared."""

    one: Part
    other: Part


class Playlist(_Strict):
    """The ends of a way through the music, or seeds."""

    start: Part | None = Field(None, alias="from")
    to: Part | None = None
    seeds: Parts | None = None
    n: Annotated[int, Field(ge=1, le=MAX_PIECES)] = 20

    @model_validator(mode="after")
    def _either(self) -> Playlist:
        ends = (self.start is not None) + (self.to is not None)
        if (self.seeds is None) != (ends == 2) or ends == 1:
            raise ValueError("a playlist has from and to, or seeds")
        return self


class Job(_Strict):
    """Work to be done beside the answers."""

    action: Annotated[str, Field(pattern="^update$")]


class Problem(BaseModel):
    """Why something was not done."""

    error: str


Answer = dict[str, Any]
