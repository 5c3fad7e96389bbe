"""Questions: search, similarity, playlists, and lists of what there is."""

from __future__ import annotations

import time
from bisect import bisect_right
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as PathParameter

from clamp3.errors import printable
from clamp3.index.fusion import answering
from clamp3.index.library import Library
from clamp3.index.playlist import playlist
from clamp3.index.query import answer
from clamp3.index.question import Part as AskedPart
from clamp3.index.question import Question, resolve
from clamp3.index.ranking import Hit, cosine
from clamp3.index.store import FACTS
from clamp3.index.where import both, quoted
from clamp3.server import rows
from clamp3.server.errors import RefusedError
from clamp3.server.schemas import Answer, Part, Playlist, Search, Similarity
from clamp3.server.service import Here, Opened, Service

Id = Annotated[str, PathParameter(max_length=8000)]
_MAX_LISTED = 500


def add_to(app: FastAPI) -> None:
    """Add these addresses."""
    app.add_api_route("/search", _search, methods=["POST"])
    app.add_api_route("/similarity", _similarity, methods=["POST"])
    app.add_api_route("/playlist", _playlist, methods=["POST"])
    app.add_api_route("/playlist.m3u8", _m3u8, response_class=Response)
    app.add_api_route("/items", _items)
    app.add_api_route("/items/{id}", _item)


async def _search(question: Search, service: Here) -> Answer:
    """Return what is closest to a question, best first."""
    begun = time.perf_counter()
    parts = await _asked(service, question.parts)
    asked = Question(
        parts,
        question.axis,
        diversity=question.diversity,
        where=question.where or None,
        kinds=tuple(question.kinds),
        passages=question.passages,
        top_k=question.top_k,
        words=question.words,
        min_score=question.min_score,
    )

    def search(opened: Opened) -> tuple[list[Any], list[str]]:
        found = answer(opened.library, opened.model, asked)
        shown = _shown(opened, found.hits)
        if asked.words and not asked.passages:
            for hit in shown:
                hit["called"] = answering(asked.text, hit)
        return shown, found.notes

    hits, remarks = await _run(service, parts, search)
    remarks += [] if hits else ["nothing that the filters let through is like this."]
    return {"hits": hits, "milliseconds": round((time.perf_counter() - begun) * 1000, 1), "remarks": remarks}


async def _similarity(pair: Similarity, service: Here) -> Answer:
    """Return the cosine of two parts."""
    one, other = await _asked(service, [pair.one, pair.other])

    def compare(opened: Opened) -> float:
        left, right = (resolve(Question((part,)), opened.model, opened.library).vector for part in (one, other))
        return float(cosine(left, right.reshape(1, -1))[0])

    return {"cosine": await _run(service, (one, other), compare)}


async def _playlist(wanted: Playlist, service: Here) -> Answer:
    """Return pieces to play one after the other: from one to another, or like some seeds."""
    seeds = wanted.seeds or [each for each in (wanted.start,) if each is not None]
    parts = await _asked(service, [*seeds, *([wanted.to] if wanted.to is not None else [])])
    end = parts[-1] if wanted.to is not None else None

    def make(opened: Opened) -> list[Answer]:
        return _shown(opened, playlist(opened.library, opened.model, parts[: len(seeds)], wanted.n, end=end))

    return {"hits": await _run(service, parts, make)}


async def _m3u8(request: Request, service: Here, ids: Annotated[str, Query(max_length=200_000)]) -> Response:
    """Return pieces as a playlist for players; only recordings and MIDI files are in it."""
    wanted = [rows.piece_of(each) for each in ids.split(",")]
    if len(wanted) > _MAX_LISTED:
        raise RefusedError(422, f"a playlist has at most {_MAX_LISTED} pieces.")
    items = await service.search(lambda opened: _of_ids(opened.library, wanted))
    lines = ["#EXTM3U"]
    for item in items:
        if item["has"]["media"]:
            title = " - ".join(filter(None, (item["artist"] or item["composer"], item["title"] or item["name"])))
            lines.append(f"#EXTINF:{round(item['duration'] or -1)},{printable(title)}")
            lines.append(f"{str(request.base_url).rstrip('/')}/items/{quote(item['id'])}/media")
    headers = {"Content-Disposition": 'attachment; filename="playlist.m3u8"'}
    return Response("\n".join(lines) + "\n", media_type="application/vnd.apple.mpegurl", headers=headers)


async def _items(
    service: Here,
    where: Annotated[str | None, Query(max_length=2000)] = None,
    modality: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 50,
    after: Annotated[str | None, Query(max_length=8000)] = None,
) -> Answer:
    """List pieces by name."""
    return await service.search(lambda opened: _listed(opened, where, modality, limit, after))


async def _item(id: Id, service: Here) -> Answer:
    """Return all that is known of a piece."""
    return await service.search(lambda opened: rows.item(opened.library, rows.row_of(opened.library, id)))


async def _asked(service: Service, given: list[Part]) -> tuple[AskedPart, ...]:
    """Return what clients ask with as parts of a question; texts are encoded with those of others."""
    space = service.now().library.meta.weights
    await service.encode_texts([part.text for part in given if part.text is not None])
    return tuple(_part(service, part, space) for part in given)


def _part(service: Service, part: Part, space: str) -> AskedPart:
    if part.text is not None:
        return AskedPart(part.weight, text=part.text)
    if part.item is not None:
        piece = rows.piece_of(part.item)
        stretch = part.model_dump(include={"start_sec", "end_sec", "first_bar", "last_bar"})
        return AskedPart(part.weight, piece=piece, **stretch)
    upload = service.uploads.get(part.upload or "")
    if upload is None or upload.space != space:
        raise RefusedError(404, "the upload is not kept any more; send it again.")
    return AskedPart(part.weight, vector=upload.vector)


async def _run(service: Service, parts: tuple[AskedPart, ...], call: rows.Call[rows.Value]) -> rows.Value:
    """Return what a call returns; where a stretch of a piece has to be encoded, the thread for music runs it."""

    def checked() -> rows.Value:
        opened = service.now()
        wanted = {part.piece for part in parts if part.piece is not None}
        if len(opened.library.pieces.rows(["id"], ids=wanted)) < len(wanted):
            raise rows.unknown()
        return call(opened)

    lane = service.music if any(part.stretch() is not None for part in parts) else service.searches
    return await service.wait(lane.submit(checked))


def _shown(opened: Opened, hits: list[Hit]) -> list[Answer]:
    """Return hits with the facts of their pieces."""
    unknown = {name: "" if kind is str else None for name, kind in FACTS.items()}
    shown = []
    for hit in hits:
        own = {"id": hit.id, "name": hit.name, "title": hit.title, "modality": hit.modality, "kind": hit.kind}
        item = rows.item(opened.library, {**unknown, **hit.facts, **own})
        found = hit.passage
        passage = None
        if found is not None:
            passage = {"unit": found.unit, "start": found.start, "end": found.end, "text": str(found)}
        shown.append({"place": hit.rank, **item, "score": hit.score, "passage": passage, "also": list(hit.also)})
    return shown


def _of_ids(library: Library, pieces: list[str]) -> list[Answer]:
    found = {row["id"]: row for row in library.pieces.rows(rows.FIELDS, ids=pieces)}
    return [rows.item(library, found[piece]) for piece in pieces if piece in found]


def _listed(opened: Opened, where: str | None, modality: str | None, limit: int, after: str | None) -> Answer:
    library = opened.library
    condition = library.condition(where or None)
    if modality is not None:
        condition = both(condition, f"modality = {quoted(modality)}")
    every = opened.names(condition)
    start = 0
    if after is not None:
        last = rows.row_of(library, after)
        start = bisect_right(every, (last["name"], last["id"]))
    page = every[start : start + limit]
    more = start + limit < len(every)
    shown = _of_ids(library, [piece for _, piece in page])
    return {"items": shown, "next": rows.client_id(page[-1][1]) if more else None, "total": len(every)}
