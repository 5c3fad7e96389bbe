"""Run a server from its flags, until a signal ends it."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING

from clamp3 import cli
from clamp3.errors import EXIT_OK, ConfigError
from clamp3.formats.tables import json_text
from clamp3.index.commands import MODEL_FLAGS, index_at
from clamp3.index.folder import IndexMeta
from clamp3.index.place import Where

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.server.vectors import RecentVectors

LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")
_BACKLOG = 1024  # connections that wait to be taken
logger = logging.getLogger(__name__)


def serve(args: argparse.Namespace, place: Where) -> int:
    """Serve the index at a place; return the exit code.

    Parameters
    ----------
    args : Namespace
        Flags, as ``retrieval/serve.py`` parses them.
    place : Path or Uri
        The index, or the folder that has it in it.
    """
    index = index_at(place)
    try:
        import uvicorn

        from clamp3.server.app import make_app
        from clamp3.server.protocol import PatientProtocol
    except ImportError as error:
        raise ConfigError(f"the server needs {error.name}: pip install 'clamp3[server]'.") from None
    from clamp3.server.settings import Settings

    hosts = {*LOCAL, args.host, *args.allowed_host}
    limits = {"max_upload_mb": args.max_upload_mb, "batch": args.batch}
    settings = Settings(hosts=sorted(hosts), token=args.token, caption_model=args.caption_model, **limits)
    app = make_app(index, partial(open_model, args), settings)
    _log(args.json)
    _allow_connections()
    listener = _listener(args.host, args.port)
    if not args.token and args.host not in LOCAL:
        logger.warning("warning: whoever reaches %s is answered; --token asks for a word first.", args.host)
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=10,
    )
    with listener, contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises again when all is answered
        logger.info("The page is at %s (Ctrl-C ends the server).", _address(args.host, listener.getsockname()[1]))
        uvicorn.Server(config).run(sockets=[listener])
    return EXIT_OK


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that waits for clients; a sentence if it cannot."""
    try:
        [family, *_], *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        known = {errno.EADDRINUSE: "another program answers there; --port 0 takes a free port"}
        reason = known.get(error.errno or 0) or error.strerror or str(error)
        raise ConfigError(f"nothing can be served at {_address(host, port)}: {reason}.") from None


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _log(as_json: bool) -> None:
    """Log errors, and as JSON every request too."""
    logging.getLogger("clamp3.server.requests").setLevel(logging.INFO if as_json else logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    if as_json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(_Lines())


class _Lines(logging.Formatter):
    """A JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON."""
        line = {"time": round(record.created, 3), "level": record.levelname.lower()}
        if isinstance(record.args, dict):
            return json_text({**line, **record.args})
        line["message"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json_text(line)


def _allow_connections() -> None:
    """Let this process open as many files as the system allows."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


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
    flags = {name: getattr(args, name) or meta.model.get(name) for name in MODEL_FLAGS}
    flags["model"] = flags["model"] or "mini"
    return cli.open_model(argparse.Namespace(**{**vars(args), **flags}), cache)
