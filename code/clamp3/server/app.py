"""The application: what is answered at which address."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from clamp3.errors import Clamp3Error
from clamp3.index.place import Where
from clamp3.server import music, questions, reference, subsonic, upkeep
from clamp3.server.errors import RefusedError, status_of, without_paths
from clamp3.server.guard import Guard
from clamp3.server.metrics import Measured, Metrics
from clamp3.server.schemas import Problem
from clamp3.server.service import OpenModel, Service, places
from clamp3.server.settings import Settings

PAGE = Path(__file__).with_name("page")
_STATUSES = (400, 401, 404, 408, 413, 415, 422, 429, 503)


def make_app(index: Where, open_model: OpenModel, settings: Settings | None = None) -> FastAPI:
    """Return the application of an index.

    Parameters
    ----------
    index : Path or Uri
        Folder of the index, or its address.
    open_model : callable
        From the meta of the index and a cache of vectors to the model.
    settings : Settings, optional
    """
    service = Service(index, open_model, settings or Settings())
    app = FastAPI(
        title="CLaMP 3",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        responses={status: {"model": Problem} for status in _STATUSES},
    )
    app.state.service = service
    app.add_exception_handler(Clamp3Error, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)
    app.state.metrics = Metrics(service)
    app.add_middleware(Guard, settings=service.settings)
    app.add_middleware(Measured, metrics=app.state.metrics)  # the outermost
    for each in (questions, music, upkeep, subsonic, reference):
        each.add_to(app)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/page", StaticFiles(directory=PAGE, html=True, check_dir=False))
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    loading = asyncio.get_running_loop().run_in_executor(None, service.start)
    try:
        yield
    finally:
        service.close()
        await loading


def _page() -> RedirectResponse:
    return RedirectResponse("/page/")


def _answer(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)


def _ours(request: Request, error: Any) -> JSONResponse:
    service: Service = request.app.state.service
    known = service.opened.folders if service.opened is not None else places(service.index)
    headers = error.headers if isinstance(error, RefusedError) else None
    return _answer(status_of(error), without_paths(error, known), headers)


def _invalid(_request: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return _answer(422, without_paths(f"{place or 'the request'}: {first['msg'].removeprefix('Value error, ')}."))


def _http(_request: Request, error: Any) -> JSONResponse:
    sentences = {404: "there is nothing at this address.", 405: "this address does not take this method."}
    return _answer(error.status_code, sentences.get(error.status_code, without_paths(error.detail)), error.headers)


def _bug(_request: Request, _error: Any) -> JSONResponse:
    return _answer(500, "an error inside the server; its log says more.")
