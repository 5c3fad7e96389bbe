"""For the tests of the page: a small library, a server of it, and what Chromium, without a window, is started with.

Nothing here waits for a length of time: every step waits for what the page shows, as long as a slow machine needs.
"""

import contextlib
import functools
import os
import shutil
import socket
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --mute-audio "
    "--use-fake-ui-for-media-stream --use-fake-device-for-media-stream --autoplay-policy=no-user-gesture-required"
)
PATIENCE_MS = 1000 * int(os.environ.get("CLAMP3_PATIENCE_SEC", "120"))
CORPUS = (
    "bach/bwv66.6.mxl",
    "bach/bwv10.7.mxl",
    "joplin/maple_leaf_rag.mxl",
    "chopin/mazurka06-2.krn",
    "schumann_clara/polonaise_op1n1.mxl",
    "ryansMammoth/AcaciaReel.abc",
    "ryansMammoth/AdmiralsHornpipe.abc",
    "ryansMammoth/AlbemarleHornpipe.abc",
)
CLIPS = ("aird-book2-120.ogg", "bach-bwv85-6-mxl.ogg", "oneill-1276-1375-019.ogg")
EVIL = "<img src=x onerror=window.pwned=1> \x1b[31m<script>window.pwned=1</script>"
SCALE = (60, 62, 64, 65, 67, 69, 71, 72)


def write_music(folder):
    """Write fifteen pieces: scores of music21's corpus, MIDI files, recordings, and one with an evil title."""
    from music21 import corpus

    from clamp3.formats.midi import write_midi

    (folder / "scores").mkdir(parents=True)
    for name in CORPUS:
        shutil.copy(corpus.getWork(name), folder / "scores")
    (folder / "scores/evil.abc").write_text(f"X:1\nT:{EVIL}\nM:4/4\nL:1/4\nK:C\nCDEF|GABc|cBAG|FEDC|\n")
    (folder / "midi").mkdir()
    for name, program, pitches in (
        ("up", 0, SCALE),
        ("down", 40, SCALE[::-1]),
        ("thirds", 73, SCALE[::2] + SCALE[1::2]),
    ):
        messages = [(0, bytes((0xC0, program)))]
        for pitch in pitches * 4:
            messages += [(0, bytes((0x90, pitch, 80))), (480, bytes((0x80, pitch, 0)))]
        (folder / f"midi/{name}.mid").write_bytes(write_midi(480, messages))
    (folder / "recordings").mkdir()
    for name in CLIPS:
        shutil.copy(ROOT / "examples/clips" / name, folder / "recordings")


@contextlib.contextmanager
def serving(script, music, **settings):
    """Yield the address of a server of some music, in a thread of this process."""
    import uvicorn

    from clamp3.server.app import make_app
    from clamp3.server.run import open_model
    from clamp3.server.settings import Settings

    args = script("retrieval/serve.py").build_parser().parse_args(["--index", str(music), "--device", "cpu"])
    settings = {"map_method": "pca", **settings}
    app = make_app(music / ".clamp3_index", functools.partial(open_model, args), Settings(**settings))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


class Visit:
    """A visitor's page, and what went wrong on it."""

    def __init__(self, browser, address, path="", **context):
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **context}
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.faults = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._log)
        self.page.goto(address + path)

    def _log(self, message):
        # Refused requests are logged by the browser itself; what the page does with them is what tests look at.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)
