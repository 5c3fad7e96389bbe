"""Music like a song, for players that speak the language of Subsonic's servers: ``getSimilarSongs``.

A player that has another server for its songs cannot play ours by their ids; ``path`` and ``title`` say which they are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from xml.etree.ElementTree import Element, SubElement, tostring

from fastapi import FastAPI, Query, Response

from clamp3.errors import Clamp3Error, printable
from clamp3.formats.tables import json_text
from clamp3.index.playlist import MAX_PIECES, playlist
from clamp3.index.question import Part
from clamp3.server import rows
from clamp3.server.errors import status_of
from clamp3.server.service import Here, Opened

VERSION = "1.16.1"
_NOT_FOUND, _OTHER = 70, 0  # of Subsonic's errors


def add_to(app: FastAPI) -> None:
    """Add these addresses."""
    for name in ("ping", "getSimilarSongs", "getSimilarSongs2"):
        for suffix in ("", ".view"):
            handler = _ping if name == "ping" else _similar if name == "getSimilarSongs" else _similar_2
            app.add_api_route(f"/rest/{name}{suffix}", handler, response_class=Response, include_in_schema=not suffix)


Form = Annotated[Literal["json", "xml"], Query(alias="f")]
Id = Annotated[str, Query(max_length=8000)]
Count = Annotated[int, Query(ge=1, le=500)]


async def _ping(f: Form = "xml") -> Response:
    """Whether there is a server."""
    return _answer(f, {})


async def _similar(service: Here, id: Id, count: Count = 50, f: Form = "xml") -> Response:
    """Return songs like a song."""
    return await _songs(service, id, count, f, "similarSongs")


async def _similar_2(service: Here, id: Id, count: Count = 50, f: Form = "xml") -> Response:
    """Return songs like a song."""
    return await _songs(service, id, count, f, "similarSongs2")


async def _songs(service: Here, id: str, count: int, form: str, name: str) -> Response:
    def find(opened: Opened) -> list[dict[str, Any]]:
        row = rows.row_of(opened.library, id)
        hits = playlist(
            opened.library, opened.model, [Part(piece=row["id"])], min(count, MAX_PIECES), kinds=("audio", "midi")
        )
        return [_song(hit.id, {"name": hit.name, "title": hit.title, **hit.facts}) for hit in hits]

    try:
        return _answer(form, {name: {"song": await service.search(find)}})
    except Clamp3Error as error:
        code = _NOT_FOUND if status_of(error) == 404 else _OTHER
        if status_of(error) not in (400, 404, 422):
            raise
        return _answer(form, {"error": {"code": code, "message": str(error)}}, "failed")


def _song(piece: str, facts: dict[str, Any]) -> dict[str, Any]:
    song = {
        "id": rows.client_id(piece),
        "isDir": False,
        "title": facts["title"] or facts["name"],
        "artist": facts.get("artist") or facts.get("composer"),
        "album": facts.get("album"),
        "genre": facts.get("genre"),
        "year": facts.get("year"),
        "duration": round(facts["duration"]) if facts.get("duration") else None,
        "path": facts["name"],
    }
    return {name: value for name, value in song.items() if value not in (None, "")}


def _answer(form: str, content: dict[str, Any], status: str = "ok") -> Response:
    head = {"status": status, "version": VERSION, "type": "clamp3"}
    if form == "json":
        return Response(json_text({"subsonic-response": {**head, **content}}), media_type="application/json")
    root = Element("subsonic-response", {"xmlns": "http://subsonic.org/restapi", **head})
    for name, value in content.items():
        inner = SubElement(root, name, {key: _text(each) for key, each in value.items() if key != "song"})
        for song in value.get("song", []):
            SubElement(inner, "song", {key: _text(each) for key, each in song.items()})
    return Response(tostring(root, "utf-8", xml_declaration=True), media_type="application/xml")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else printable(value)
