"""A small library and a server of it, for the tests of the server."""

import argparse
import time
from contextlib import contextmanager
from functools import partial

import numpy as np
import soundfile
from fastapi.testclient import TestClient

from clamp3 import Clamp3
from clamp3.embedding.passages import PassagePlan
from clamp3.formats.midi import write_midi
from clamp3.index.indexing import bring_up_to_date
from clamp3.index.library import Library
from clamp3.server.app import make_app
from clamp3.server.run import open_model
from clamp3.server.settings import Settings

KESH = "X:1\nT:The Kesh\nC:Trad.\nM:6/8\nL:1/8\nK:G\nGAG GAB|ABA ABd|edd gdd|edB dBA|\n"
AIR = "X:1\nT:Slow Air\nC:Anon\nM:3/4\nL:1/4\nK:Dm\nD2 E|F2 D|A3|d2 c|A2 F|E3|D3|\n"
FLAGS = argparse.Namespace(model="mini", text_model=None, mert_model=None, dtype="auto", device="cpu", correct=False,
                           backend=None)  # fmt: skip


def write_notes(*pitches):
    messages = [(0, b"\xc0\x28")]
    for pitch in pitches:
        messages += [(0, bytes((0x90, pitch, 64))), (240, bytes((0x80, pitch, 0)))]
    return write_midi(480, messages)


def write_library(folder):
    """Write five pieces of three modalities and index them; return the folder of the index."""
    (folder / "sub dir").mkdir(parents=True)
    (folder / "kesh.abc").write_text(KESH)
    (folder / "air.abc").write_text(AIR)
    (folder / "scale.mid").write_bytes(write_notes(60, 62, 64, 65, 67))
    (folder / "sub dir" / "C# ünd 'x'.mid").write_bytes(write_notes(72, 71, 69, 67))
    tone = np.sin(np.arange(48_000) / 24_000 * 2 * np.pi * 440) * 0.5
    soundfile.write(folder / "tone.wav", tone, 24_000)
    model = Clamp3.from_pretrained("mini", device="cpu")
    with Library.create(folder / ".clamp3_index", model, passages=PassagePlan(1, 1, 2, 2)) as library:
        changes = bring_up_to_date(library, model, [folder], n_workers=1)
    assert changes.embedded == 5 and not changes.failed
    return folder / ".clamp3_index"


@contextmanager
def client_of(index, *, opens=None, **settings):
    """Yield a client of a server that has loaded its model."""
    app = make_app(index, opens or partial(open_model, FLAGS), Settings(map_method="pca", **settings))
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/healthz").json().get("status") == "loading":
            time.sleep(0.01)
        yield client
