"""Run a server from its flags, until a signal ends it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from clamp3.errors import EXIT_OK, ConfigError, printable
from clamp3.index.folder import IndexMeta, find_index

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.server.vectors import RecentVectors


def serve(args: argparse.Namespace, place: Path) -> int:
    """Serve the index at a place; return the exit code.

    Parameters
    ----------
    args : Namespace
        Flags, as ``retrieval/serve.py`` parses them.
    place : Path
        The index, or the folder that has it in it.
    """
    index = find_index(place)
    if index is None:
        raise ConfigError(
            f"there is no index at {printable(place.resolve())}; make one with retrieval/index.py add FOLDER."
        )
    try:
        import uvicorn

        from clamp3.server.app import make_app
    except ImportError as error:
        raise ConfigError(f"the server needs {error.name}: pip install 'clamp3[server]'.") from None
    from clamp3.server.settings import Settings

    hosts = {"127.0.0.1", "localhost", "[::1]", args.host, *args.allowed_host}
    settings = Settings(hosts=sorted(hosts), token=args.token, max_upload_mb=args.max_upload_mb)
    app = make_app(index, lambda meta, cache: open_model(args, meta, cache), settings)
    uvicorn.run(app, host=args.host, port=args.port, timeout_graceful_shutdown=5, server_header=False)
    return EXIT_OK


def open_model(args: argparse.Namespace, meta: IndexMeta, cache: RecentVectors) -> Clamp3:
    """Open the model that the flags name, else that of the index.

    Parameters
    ----------
    args : Namespace
        With the flags of `clamp3.cli.add_model_flags`.
    meta : IndexMeta
        How the index's own model was opened.
    cache : RecentVectors
    """
    from clamp3.embedding.clamp3 import Clamp3

    flags = {name: getattr(args, name) or meta.model.get(name) for name in ("model", "text_model", "mert_model")}
    return Clamp3.from_pretrained(
        flags["model"] or "mini",
        text_model=flags["text_model"],
        mert_model=flags["mert_model"],
        dtype=args.dtype,
        device=args.device,
        cache=cache,
        correct=args.correct,
    )
