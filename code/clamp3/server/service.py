"""What a server holds between requests: the open index, the resident model, vectors of uploads, and who works on them.

The index is opened again when another process has put a new one in its place (``update --reindex``); what ``add`` and
``update`` change is seen without.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from fastapi import Depends, Request

from clamp3.errors import Clamp3Error, DataError, describe
from clamp3.formats import Kind
from clamp3.index.folder import IndexMeta
from clamp3.index.library import Library
from clamp3.index.place import POINTER, Uri, Where
from clamp3.jobs.identity import NO_FRONT_END, Identity
from clamp3.modalities import modality_of
from clamp3.server.errors import busy
from clamp3.server.jobs import Jobs
from clamp3.server.lanes import Batches, Lane
from clamp3.server.pictures import Pictures
from clamp3.server.scores import Scores
from clamp3.server.settings import Settings
from clamp3.server.sounds import Sounds
from clamp3.server.vectors import RecentVectors, Uploads
from clamp3.sources import Source, sentence

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3

Value = TypeVar("Value")
OpenModel = Callable[[IndexMeta, RecentVectors], "Clamp3"]
logger = logging.getLogger(__name__)

_LOOK_SEC = 1.0  # how often a change of the index is looked for
_MADE = 8
_WARM = "a lively jig"


class Opened:
    """An index and its model.

    Parameters
    ----------
    library : Library
    model : Clamp3
    pointer : object
        What the file looked like that says where the index is.
    """

    def __init__(self, library: Library, model: Clamp3, pointer: object) -> None:
        self.library, self.model, self.pointer = library, model, pointer
        self._made: OrderedDict[str, tuple[object, Any]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def folders(self) -> list[object]:
        """Folders that no client may learn of."""
        folder = self.library.folder
        return [*places(folder.where), *folder.roots().values(), Path.home()]

    def can_encode_recordings(self) -> bool:
        """Return whether the model, and MERT where it needs that, are there."""
        if self.model.lacks("audio") is not None:
            return False
        return getattr(self.model.front_end("audio"), "identity", "") != NO_FRONT_END

    def names(self, condition: str | None) -> list[tuple[str, str]]:
        """Return names and ids that a filter, as SQL, lets through, in order."""

        def read() -> list[tuple[str, str]]:
            return sorted((row["name"], row["id"]) for row in self.library.pieces.rows(["id", "name"], condition))

        return self.once(f"names {condition}", read)

    def once(self, what: str, make: Callable[[], Value]) -> Value:
        """Return what was made before, or is made now, of the index as it is.

        Parameters
        ----------
        what : str
            Its name; the last few are kept.
        make : callable
        """
        stamp = self.library.store.version()
        with self._lock:
            known = self._made.get(what)
        if known is not None and known[0] == stamp:
            value: Value = known[1]
            return value
        value = make()
        with self._lock:
            self._made[what] = stamp, value
            self._made.move_to_end(what)
            while len(self._made) > _MADE:
                self._made.popitem(last=False)
        return value


class Service:
    """An index, its model and the threads that use them.

    Parameters
    ----------
    index : Path or Uri
    open_model : callable
        From its meta and a cache to the model.
    settings : Settings
    """

    def __init__(self, index: Where, open_model: OpenModel, settings: Settings) -> None:
        self.index, self.settings = index, settings
        self._open_model = open_model
        self._cache = RecentVectors(4096)
        self._opened: Opened | None = None
        self._looked = 0.0
        self._lock = threading.Lock()
        self.failure = ""
        self.texts = Batches(self._encode_texts, settings.batch, settings.n_texts)
        self.music = Lane("uploads", 1, settings.n_music)
        self.searches = Lane("questions", 4, settings.n_questions)
        self.drawings = Lane("scores", 2, settings.n_questions)
        self.maps = Lane("maps", 1, 8)
        self.uploads = Uploads(settings.uploads, settings.upload_hours * 3600)
        self.scores, self.sounds = Scores(), Sounds(settings.longest_upload_sec)
        self.pictures = Pictures(settings.caption_model)
        self.jobs = Jobs(index, open_model)
        self.lanes = (self.texts.lane, self.music, self.searches, self.drawings, self.maps)
        self.closing = False

    def start(self) -> None:
        """Open index and model with what texts need; scores' follows, recordings load theirs when they come."""
        try:
            opened = self._open()
            opened.model.encode([sentence(_WARM)])
            self._opened = opened
            if opened.model.lacks("symbolic") is None:
                self.music.submit(lambda: opened.model.load("symbolic"))
        except Exception as error:  # said to whoever asks
            self.failure = describe(error)
            if not self.closing:
                logger.error("error: %s", self.failure)

    @property
    def opened(self) -> Opened | None:
        """The index and its model, None until they are loaded."""
        return self._opened

    def now(self) -> Opened:
        """Return index and model as they are now.

        Raises
        ------
        RefusedError
            If they are not loaded yet.
        """
        if self._opened is None:
            raise busy(self.failure or "the model is being loaded; ask again in a second.")
        if time.monotonic() - self._looked > _LOOK_SEC and self._lock.acquire(blocking=False):
            self._looked = time.monotonic()
            threading.Thread(target=self._look, args=(self._opened,), daemon=True).start()  # lets go of the lock
        return self._opened

    def _look(self, opened: Opened) -> None:
        """Open what has taken the index's place; until then the old one answers as well as it can."""
        try:
            with suppress(DataError):  # a store that does not answer for a while has not been replaced
                if _pointer(self.index) != opened.pointer or opened.library.folder.is_replaced():
                    self._opened = self._open()
        except Exception as error:
            logger.error("error: the new index cannot be opened: %s", describe(error))
        finally:
            self._lock.release()

    async def search(self, call: Callable[[Opened], Value]) -> Value:
        """Return what a call with the open index returns, run by a thread of its own."""
        return await self.wait(self.searches.submit(lambda: call(self.now())))

    async def encode_texts(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the vectors of sentences, shape (D,) each."""
        self.now()
        return [np.asarray(await self.wait(each)) for each in [self.texts.submit(text) for text in texts]]

    async def encode(self, source: Source) -> np.ndarray:
        """Return the vector of some music, shape (D,)."""
        self.now()
        return await self.wait(self.music.submit(lambda: self._encode_music(source)))

    async def caption(self, picture: bytes, name: str) -> str:
        """Return what is in a picture, in words; see `Pictures.caption`."""
        self.now()
        return await self.wait(self.music.submit(lambda: self.pictures.caption(picture, name)))

    async def count(self) -> int:
        """Return how many pieces there are; not by the threads of questions, so that it is answered under load."""
        return await asyncio.to_thread(self.now().library.pieces.count)

    async def wait(self, future: Future[Value]) -> Value:
        """Return the result of a call, or refuse when it takes too long."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.settings.answer_sec)
        except asyncio.TimeoutError:
            raise busy(f"the answer takes over {self.settings.answer_sec:g} s.", 5) from None

    def close(self) -> None:
        """End all threads and jobs."""
        self.closing = True
        self.jobs.close()
        self.texts.close()
        for lane in self.lanes:
            lane.close()

    def _open(self) -> Opened:
        pointer = _pointer(self.index)
        library = Library.open(self.index)
        before = self._opened.model if self._opened is not None else None
        if before is not None and Identity.parse(before.identity).space == library.meta.weights:
            return Opened(library, before, pointer)
        model = self._open_model(library.meta, self._cache)
        library.check_model(model)
        return Opened(library, model, pointer)

    def _encode_texts(self, texts: Sequence[str]) -> Sequence[object]:
        encoded = self.now().model.encode([sentence(text) for text in texts])
        for error in encoded.errors:
            if error is not None:
                raise Clamp3Error(error)
        return list(encoded.vectors)

    def _encode_music(self, source: Source) -> np.ndarray:
        opened = self.now()
        lacks = opened.model.lacks(modality_of(source.kind))
        if lacks is not None:
            raise Clamp3Error(f"{source.name}: {lacks}")
        if source.kind == Kind.AUDIO:
            source = self.sounds.decoded(source)
        encoded = opened.model.encode([source], n_workers=1)
        if encoded.errors[0] is not None:
            raise Clamp3Error(encoded.errors[0])
        return np.asarray(encoded.vectors[0])


def places(index: Where) -> list[object]:
    """Return the names of the place of an index, which no client may learn of."""
    if isinstance(index, Uri):
        return [index, index.server.partition("://")[2]]
    return [index, index.parent]


def service_of(request: Request) -> Service:
    """Return the service behind an application."""
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(service_of)]


def _pointer(index: Where) -> object:
    """Return what the file looks like that says where an index is; it may be another with the same content."""
    if isinstance(index, Uri):
        return None
    try:
        found = (index / POINTER).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
