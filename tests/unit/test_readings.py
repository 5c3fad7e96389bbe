"""How the models read scores and performances where they differ: MIDI of CLaMP 2 and M3, ABC as it is written."""

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clamp3.embedding.clamp3 import M3, Clamp3
from clamp3.formats import Kind
from clamp3.formats.abc.interleave import interleave
from clamp3.formats.mtf import midi_to_mtf
from clamp3.formats.musicxml import musicxml_to_abc
from clamp3.modalities.patches import encode
from clamp3.modalities.symbolic import SYMBOLIC, Reading
from clamp3.models.clamp3 import Clamp3Model
from clamp3.models.config import Clamp3Config, DecoderConfig, M3Config, TowerConfig
from clamp3.models.families import FAMILIES
from clamp3.models.m3 import M3Model
from clamp3.models.weights import describe, save_safetensors

GOLDEN = Path(__file__).parents[1] / "parity" / "golden" / "mtf"
MIDI = (GOLDEN / "every_message.mid").read_bytes()
FULL = (GOLDEN / "every_message.m3.mtf").read_text()
WITHOUT = "\n".join(line for line in FULL.split("\n") if not line.startswith(("sysex ", "sequencer_specific ")))
STANDARD = "X:1\nT:Air\nL:1/8\nM:4/4\nK:C\nV:1\nC2 D2 E2 F2 |]\nV:2\nC,2 D,2 E,2 F,2 |]\n"
TOWER = TowerConfig(width=64, n_layers=1, n_heads=1, feed_forward=64, max_length=64)


def patched(text):
    return hashlib.sha256(encode(text).tobytes()).hexdigest()


@pytest.fixture
def released_clamp2(tmp_path):
    """Return a small CLaMP 2 checkpoint with the tensor names of the released one."""
    text = TowerConfig(width=64, n_layers=1, n_heads=1, feed_forward=64, vocab_size=20, type_vocab_size=1, pad_id=1)
    model = Clamp3Model(Clamp3Config(text=text, symbolic=TOWER, symbolic_length=64))
    state = {name.replace("symbolic_", "music_"): tensor for name, tensor in model.state_dict().items()}
    torch.save({"model": state, "epoch": 1}, tmp_path / "clamp2.pth")
    return tmp_path / "clamp2.pth"


def test_mtf_without_the_messages_that_hold_lists():
    assert WITHOUT != FULL and "sysex" in FULL and "sequencer_specific" in FULL
    made = midi_to_mtf(MIDI, without=FAMILIES["m3"].without)
    assert made.text == WITHOUT  # their time goes with them, as CLaMP 2's converter has it
    assert any("sysex and sequencer_specific messages were left out" in note for note in made.notes)
    assert midi_to_mtf(MIDI).text == FULL


def test_a_released_clamp2_reads_midi_as_it_was_trained(released_clamp2, tiny_weights):
    assert describe(released_clamp2).family is FAMILIES["clamp2"]
    clamp2, clamp3 = Clamp3(released_clamp2), Clamp3.from_pretrained(tiny_weights)
    for model, text in ((clamp2, WITHOUT), (clamp3, FULL)):
        of_midi, of_text = model.encode([(MIDI, Kind.MIDI), (text.encode(), Kind.MTF)]).vectors
        np.testing.assert_array_equal(of_midi, of_text)
    assert clamp2.identity_of(Kind.MIDI) == f"{clamp2.identity}+without sysex sequencer_specific"
    assert clamp2.identity_of(Kind.MTF) == clamp2.identity  # a text is taken as it is
    assert clamp3.identity_of(Kind.MIDI) == clamp3.identity


def test_m3_reads_midi_as_it_was_trained(tmp_path):
    config = M3Config(TOWER, DecoderConfig(width=64, n_layers=1, n_heads=1, feed_forward=64), patch_length=64)
    save_safetensors(M3Model(config), config, tmp_path / "m3.safetensors")
    m3 = M3.from_pretrained(tmp_path / "m3.safetensors")
    of_midi, of_text = (r.value for r in m3.stream([(MIDI, Kind.MIDI), (WITHOUT.encode(), Kind.MTF)]))
    np.testing.assert_array_equal(of_midi, of_text)
    assert m3.identity_of(Kind.MIDI).endswith("+without sysex sequencer_specific")


@pytest.mark.parametrize(
    ("source", "patches"),
    [
        ("bach/bwv11.6", "4044aafa8a8d0d2db3baa8171bf07addd7a566013a02ae87042e34f5a453b047"),
        ("bach/bwv175.7", "fd933d30d7b80b328d58b3b8d0bc37033870d5c45fc25150d1e723c5bfbf470b"),
    ],
)
def test_abc_as_it_is_has_the_released_patches(source, patches):
    """Measured on the released code, which cuts whatever stands in the file."""
    corpus = Path(importlib.util.find_spec("music21").origin).parent / "corpus"
    standard = musicxml_to_abc((corpus / f"{source}.mxl").read_bytes(), name=source).text
    payload = (standard.encode(), Kind.ABC, f"{source}.abc")
    as_is, ours = SYMBOLIC.prepare(payload, Reading(as_is=True)), SYMBOLIC.prepare(payload)
    assert hashlib.sha256(as_is.values.tobytes()).hexdigest() == patches
    assert hashlib.sha256(ours.values.tobytes()).hexdigest() == patched(interleave(standard).text) != patches
    assert "--as_is encodes it as it is written" in ours.notes[-1]
    interleaved = interleave(standard).text.encode()
    assert SYMBOLIC.prepare((interleaved, Kind.ABC, "a.abc")).notes == ()


def test_cached_vectors_say_how_abc_was_read(tiny_weights, tmp_path):
    readers = [Clamp3.from_pretrained(tiny_weights, cache=tmp_path / "v.sqlite", as_is=as_is) for as_is in (0, 1)]
    item = (STANDARD.encode(), Kind.ABC)
    first = [reader.encode([item]).vectors[0] for reader in readers]
    assert not np.allclose(*first)
    for reader, expected in zip(readers, first, strict=True):
        (again,) = reader.stream([item])
        assert again.cached
        np.testing.assert_array_equal(again.value, expected)


def test_folders_of_vectors_say_how_abc_was_read(script, tiny_weights, tmp_path, capsys):
    main, out = script("code/extract_clamp3.py").main, tmp_path / "out"
    (tmp_path / "abc").mkdir()
    (tmp_path / "abc" / "air.abc").write_text(STANDARD)
    command = [str(tmp_path / "abc"), str(out), "--get_global", "--model", str(tiny_weights)]
    assert main([*command, "--as_is"]) == 0
    assert json.loads((out / "features.json").read_text())["preprocessing"].endswith("+as_is")
    expected = Clamp3.from_pretrained(tiny_weights, as_is=True).encode([tmp_path / "abc" / "air.abc"]).vectors
    np.testing.assert_array_equal(np.load(out / "air.npy"), expected)
    with pytest.raises(Exception, match="cannot be mixed"):
        main(command)
    assert main([*command, "--as_is"]) == 0
    assert "0 converted, 1 already done" in capsys.readouterr().out
