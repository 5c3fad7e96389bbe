"""Music in and out: uploads, vectors, recordings with ranges, notes and engraved bars."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from pydantic import ValidationError

from clamp3.errors import Clamp3Error, FormatError, printable
from clamp3.formats import Kind, kind_of, suffix_of
from clamp3.index.library import modality_label
from clamp3.metadata.captions import SUFFIXES
from clamp3.server import rows
from clamp3.server.errors import RefusedError
from clamp3.server.schemas import Answer, Texts
from clamp3.server.service import Here, Opened, Service, Value
from clamp3.server.settings import MIB
from clamp3.server.vectors import Upload
from clamp3.sources import Source, source_of

Id = Annotated[str, PathParameter(max_length=8000)]
Name = Annotated[str, Query(max_length=500, description="what it is called; the suffix says what it is")]
_MAX_SCORE = 8 * MIB
_KEPT = {"Cache-Control": "private, max-age=3600"}
_ALONE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
_MEDIA = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".mp4": "audio/mp4",
    ".webm": "audio/webm",
    ".wma": "audio/x-ms-wma",
    ".aif": "audio/aiff",
    ".aiff": "audio/aiff",
    ".au": "audio/basic",
    ".mid": "audio/midi",
    ".midi": "audio/midi",
}
_RAW = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_TEXTS = {"application/json": {"schema": Texts.model_json_schema()}}


def add_to(app: FastAPI) -> None:
    """Add these addresses."""
    raw = {"requestBody": {"content": _RAW, "required": True}}
    either = {"requestBody": {"content": {**_RAW, **_TEXTS}, "required": True}}
    app.add_api_route("/uploads", _upload, methods=["POST"], openapi_extra=raw)
    app.add_api_route("/embed", _embed, methods=["POST"], openapi_extra=either)
    app.add_api_route("/items/{id}/media", _media, response_class=FileResponse)
    app.add_api_route("/items/{id}/notes", _notes)
    app.add_api_route("/items/{id}/engraving.svg", _engraving, response_class=Response)


async def _upload(request: Request, service: Here, name: Name = "") -> Answer:
    """Encode what is sent, once; its token is a part of questions for an hour."""
    kind, vector, caption = await _encoded(service, await request.body(), name)
    kept = Upload(kind.value, modality_label(kind), vector, service.now().library.meta.weights)
    answer = {"upload": service.uploads.put(kept), "kind": kept.kind, "modality": kept.modality}
    return {**answer, "caption": caption} if caption else answer


async def _embed(request: Request, service: Here, name: Name = "") -> Answer:
    """Return vectors: of texts, or of what is sent."""
    model = service.now().model
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        try:
            texts = Texts.model_validate_json(await request.body()).texts
        except ValidationError as error:
            first = error.errors()[0]
            raise RefusedError(422, f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}.") from None
        vectors = await service.encode_texts(texts)
    else:
        vectors = [(await _encoded(service, await request.body(), name))[1]]
    return {"identity": model.identity, "vectors": [vector.tolist() for vector in vectors]}


async def _media(id: Id, service: Here) -> FileResponse:
    """Return an indexed recording or MIDI file; ranges are answered."""
    path = await service.search(lambda opened: _file(opened, id))
    kind = _MEDIA.get(path.suffix.lower(), "application/octet-stream")
    return FileResponse(path, media_type=kind, headers={"Content-Security-Policy": "default-src 'none'; sandbox"})


async def _notes(id: Id, service: Here, response: Response) -> Answer:
    """Return notes (start and duration in seconds, pitch, velocity, program, channel), and where bars begin."""
    source = await service.search(lambda opened: _score(opened, id, "notes"))
    found, bars = await _drawn(service, lambda: service.scores.notes(_content(source), source.kind, source.name))
    response.headers.update(_KEPT)
    return {"notes": found, "bars": bars, "seconds": max((note[0] + note[1] for note in found), default=0.0)}


async def _engraving(id: Id, service: Here, bars: Annotated[int, Query(ge=1, le=64)] = 8) -> Response:
    """Return the first bars of a score, engraved."""
    source = await service.search(lambda opened: _score(opened, id, "engraving"))
    scores = service.scores
    drawn = await _drawn(service, lambda: scores.engraved(_content(source), source.kind, source.name, bars))
    return Response(drawn, media_type="image/svg+xml", headers={**_KEPT, **_ALONE})


async def _drawn(service: Service, make: Callable[[], Value]) -> Value:
    """Return what is made of a score by a thread for that; a score that cannot be read has none."""
    try:
        return await service.wait(service.drawings.submit(make))
    except RefusedError:
        raise
    except Clamp3Error as error:
        raise RefusedError(404, str(error)) from None


async def _encoded(service: Service, data: bytes, name: str) -> tuple[Kind, np.ndarray, str]:
    """Return kind, vector and caption of what a client has sent; a picture is the words that describe it."""
    if data and suffix_of(name) in SUFFIXES:
        caption = await service.caption(data, _shown(name))
        [vector] = await service.encode_texts([caption])
        return Kind.TEXT, vector, caption
    source = _source(data, name)
    return source.kind, await service.encode(source), ""


def _shown(name: str) -> str:
    return printable(name.replace("\\", "/").rpartition("/")[2])[-100:]


def _source(data: bytes, name: str) -> Source:
    """Return the source of what a client has sent; of the name it has only the suffix counts."""
    kind = kind_of(name)
    if (kind is None and suffix_of(name) not in SUFFIXES) or kind == Kind.FEATURES:
        suffix = printable(suffix_of(name))[:20]
        what = f"files of type {suffix} are not read here" if suffix else "the name has no suffix that says what it is"
        raise RefusedError(
            415, f"{what}; scores (.musicxml, .mxl, .abc, .krn …), MIDI, recordings, pictures and .txt are."
        )
    if kind is None or not data:
        raise FormatError("the upload is empty.")
    return Source(kind, _shown(name), data=data)


def _file(opened: Opened, id: str) -> Path:
    """Return an indexed file that can be played, as it was when it was indexed."""
    row = rows.row_of(opened.library, id, "size", "mtime_ns")
    path = opened.library.path_of(row["id"])
    if row["kind"] not in (Kind.AUDIO, Kind.MIDI):
        raise RefusedError(404, "only recordings and MIDI files can be played.")
    try:
        status = os.stat(path)
    except OSError:
        raise RefusedError(404, "the file is not there, or is part of an archive.") from None
    if (status.st_size, status.st_mtime_ns) != (row["size"], row["mtime_ns"]):
        raise RefusedError(404, "the file has changed since it was indexed.")
    return path


def _score(opened: Opened, id: str, what: str) -> Source:
    """Return the source of a piece that has notes, or an engraving."""
    row = rows.row_of(opened.library, id)
    if not rows.item(opened.library, row)["has"][what]:
        raise RefusedError(404, f"this piece has no {what}.")
    try:
        source: Any = source_of(opened.library.path_of(row["id"]))
    except FormatError:
        raise RefusedError(404, "the file is not there.") from None
    return Source(source.kind, row["name"], path=source.path, piece=source.piece)


def _content(source: Source) -> bytes:
    data = source.read()
    if len(data) > _MAX_SCORE:
        raise FormatError(f"the score has over {_MAX_SCORE // MIB} MiB.")
    return data
