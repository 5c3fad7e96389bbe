"""Questions: search, items, uploads, and what the server is of."""

from __future__ import annotations

import time
from collections import Counter
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi import Path as PathParameter

from clamp3.errors import FormatError
from clamp3.formats import Kind, kind_of
from clamp3.index.library import Library, modality_label
from clamp3.index.query import find
from clamp3.index.selection import Selection
from clamp3.index.where import quoted
from clamp3.server import rows
from clamp3.server.errors import RefusedError
from clamp3.server.schemas import Answer, Search
from clamp3.server.service import Opened, Service
from clamp3.server.vectors import Upload
from clamp3.sources import Source, sentence

EXAMPLES = (
    "a lively Irish jig in 6/8",
    "a slow sad waltz for piano",
    "a fugue in the style of Bach",
    "bright fanfare with trumpets",
    "calm night music, harp and strings",
)


def service_of(request: Request) -> Service:
    """Return the service behind an application."""
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(service_of)]


def add_to(app: FastAPI) -> None:
    """Add these addresses."""
    app.add_api_route("/healthz", _healthz)
    app.add_api_route("/info", _info)
    app.add_api_route("/search", _search, methods=["POST"])
    app.add_api_route("/items", _items)
    app.add_api_route("/items/{id}", _one_item)
    app.add_api_route("/uploads", _upload, methods=["POST"])


async def _healthz(service: Here) -> Answer:
    """Whether questions are answered yet."""
    if service.opened is None:
        return {"status": "loading", "pieces": 0}
    return {"status": "ok", "pieces": await service.search(lambda opened: opened.library.pieces.count())}


async def _info(service: Here) -> Answer:
    """What the index holds and what this server can do."""
    return await service.search(_facts)


def _facts(opened: Opened) -> Answer:
    library = opened.library
    found = Counter(row["modality"] for row in library.pieces.rows(["modality"]))
    return {
        "weights": library.meta.weights,
        "width": library.meta.width,
        "pieces": sum(found.values()),
        "by_modality": dict(sorted(found.items())),
        "passages": library.meta.passages is not None,
        "can": {"engrave": rows.can_engrave(), "audio": opened.model.lacks("audio") is None},
        "examples": list(EXAMPLES),
    }


async def _search(question: Search, service: Here) -> Answer:
    """Return what is closest to a question, best first."""
    begun = time.perf_counter()
    await service.encode_texts([part.text for part in question.parts if part.text is not None])
    hits = await service.search(lambda opened: _hits(opened, question))
    return {"hits": hits, "milliseconds": round((time.perf_counter() - begun) * 1000, 1), "remarks": []}


def _hits(opened: Opened, question: Search) -> list[Answer]:
    if len(question.parts) != 1 or question.parts[0].text is None:
        raise RefusedError(400, "this server takes one text so far.")
    found = find(
        opened.library,
        opened.model,
        sentence(question.parts[0].text),
        top_k=question.top_k,
        where=question.where,
        passages=question.passages,
        selection=Selection(question.kinds, min_score=question.min_score),
        words=question.words,
    )
    names = ", ".join(quoted(hit.name) for hit in found) or "''"
    facts = {row["name"]: row for row in opened.library.pieces.rows(rows.FIELDS, f"name IN ({names})")}
    hits = []
    for hit in found:
        passage = hit.passage
        where = passage and {"unit": passage.unit, "start": passage.start, "end": passage.end, "text": str(passage)}
        shown = rows.item(opened.library, facts[hit.name])
        hits.append({"place": hit.rank, **shown, "score": hit.score, "passage": where, "also": list(hit.also)})
    return hits


async def _items(
    service: Here,
    where: Annotated[str | None, Query(max_length=2000)] = None,
    modality: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(max_length=8000)] = None,
) -> Answer:
    """List pieces by name."""
    return await service.search(lambda opened: _listed(opened.library, where, modality, limit, after))


def _listed(library: Library, where: str | None, modality: str | None, limit: int, after: str | None) -> Answer:
    condition = library.condition(where)
    if modality is not None:
        only = f"modality = {quoted(modality)}"
        condition = f"({condition}) AND {only}" if condition else only
    every = sorted((row["name"], row["id"]) for row in library.pieces.rows(["id", "name"], condition))
    total = len(every)
    if after is not None:
        last = rows.row_of(library, after)
        every = [each for each in every if each > (last["name"], last["id"])]
    page = every[:limit]
    facts = {row["id"]: row for row in library.pieces.rows(rows.FIELDS, ids=[piece for _, piece in page])}
    shown = [rows.item(library, facts[piece]) for _, piece in page if piece in facts]
    following = rows.client_id(page[-1][1]) if len(every) > limit else None
    return {"items": shown, "next": following, "total": total}


async def _one_item(id: Annotated[str, PathParameter(max_length=8000)], service: Here) -> Answer:
    """Return all that is known of a piece."""
    return await service.search(lambda opened: rows.item(opened.library, rows.row_of(opened.library, id)))


async def _upload(request: Request, service: Here, name: Annotated[str, Query(max_length=500)] = "") -> Answer:
    """Encode what is sent, once; its token is a part of questions for an hour."""
    service.now()
    source = upload_source(await request.body(), name)
    vector = await service.encode(source)
    space = service.now().library.meta.weights
    kept = Upload(source.kind.value, modality_label(source.kind), vector, space)
    return {"upload": service.keep(kept), "kind": kept.kind, "modality": kept.modality}


def upload_source(data: bytes, name: str) -> Source:
    """Return the source of what a client has sent.

    Parameters
    ----------
    data : bytes
    name : str
        What the client calls it; only its suffix counts.
    """
    kind = kind_of(name)
    if kind is None or kind == Kind.FEATURES:
        raise RefusedError(415, "the name needs a suffix that says what it is, such as .mid, .abc, .musicxml or .mp3.")
    if not data:
        raise FormatError("the upload is empty.")
    shown: Any = name.rpartition("/")[2].rpartition("\\")[2]
    return Source(kind, f"{shown}", data=data)
