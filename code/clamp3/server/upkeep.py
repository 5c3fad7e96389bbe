"""What the server is of and how it fares: state, numbers, the map, updates of the index."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse

from clamp3.server import rows
from clamp3.server.errors import RefusedError, without_paths
from clamp3.server.map import drawn
from clamp3.server.metrics import Metrics
from clamp3.server.schemas import Answer, Job
from clamp3.server.service import Here, Opened, Service

EXAMPLES = (
    "a lively Irish jig in 6/8",
    "a slow sad waltz for piano",
    "ein Choral für vier Stimmen",
    "une danse ancienne et joyeuse",
    "una canción de cuna tranquila",
    "明るい行進曲",
    "中国民歌",
)
_LOOK_SEC, _BEAT_SEC = 0.2, 15.0


def add_to(app: FastAPI) -> None:
    """Add these addresses."""
    app.add_api_route("/healthz", _healthz)
    app.add_api_route("/metrics", _metrics, response_class=Response)
    app.add_api_route("/info", _info)
    app.add_api_route("/map", _map)
    app.add_api_route("/jobs", _start_job, methods=["POST"])
    app.add_api_route("/jobs/{id}/events", _events, response_class=StreamingResponse)


async def _healthz(service: Here) -> Answer:
    """Whether questions are answered yet."""
    if service.opened is None and not service.failure:
        return {"status": "loading", "pieces": 0}
    return {"status": "ok", "pieces": await service.count()}


async def _metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


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
        "can": {"engrave": rows.can_engrave(), "audio": opened.can_encode_recordings()},
        "examples": list(EXAMPLES),
    }


async def _map(service: Here) -> Answer:
    """Return a point for every piece; in large libraries for a sample of them, always the same."""
    return await service.wait(service.maps.submit(lambda: drawn(service.now(), service.settings.map_method)))


async def _start_job(job: Job, service: Here) -> Answer:
    """Bring the index up to date with its folders; the job that runs already is joined."""
    service.now()
    return {"job": await asyncio.to_thread(service.jobs.start)}


async def _events(id: Annotated[str, PathParameter(max_length=100)], service: Here) -> StreamingResponse:
    """Follow a job by server-sent events, until it ends."""
    if service.jobs.progress(id) is None:
        raise RefusedError(404, "there is no job of this name.")
    return StreamingResponse(_follow(service, id), media_type="text/event-stream")


async def _follow(service: Service, job: str) -> AsyncIterator[str]:
    last, silent = "", 0.0
    while not service.closing:
        progress = service.jobs.progress(job)
        if progress is None:
            return
        known = service.opened.folders if service.opened is not None else []
        facts = progress.as_json()
        if progress.error:
            facts["error"] = without_paths(progress.error, known)
        text = json.dumps(facts)
        if text != last:
            last, silent = text, 0.0
            yield f"data: {text}\n\n"
        elif silent >= _BEAT_SEC:
            silent = 0.0
            yield ": still there\n\n"
        if progress.state != "running":
            return
        await asyncio.sleep(_LOOK_SEC)
        silent += _LOOK_SEC
