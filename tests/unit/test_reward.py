"""Generated pieces as a reward: nearness to references and prompts, broken ones, nothing written to disk."""

import io
import json
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest

from clamp3 import Clamp3, Reward
from clamp3.errors import ConfigError, DataError

JIG = "X:1\nL:1/8\nM:6/8\nK:G\nGAG GAB|ABA ABd|edd gdd|edB dBA|"
DRONE = "X:1\nL:1/8\nM:C\nK:C\nC8|C8|C8|"


@pytest.fixture(scope="module")
def mini():
    with Clamp3.from_pretrained("mini") as model:
        yield model


def midi(*notes):
    file, out = mido.MidiFile(), io.BytesIO()
    track = [mido.Message(kind, note=n, time=t) for n in notes for kind, t in (("note_on", 0), ("note_off", 240))]
    file.tracks.append(mido.MidiTrack(track))
    file.save(file=out)
    return out.getvalue()


def test_a_reward_is_the_cosine_to_the_mean_of_the_references(mini):
    references = [JIG, JIG.replace("GAB", "BAG"), DRONE]
    mean = mini.encode(references).vectors.mean(axis=0)
    pieces = [JIG, DRONE, midi(60, 64, 67)]
    reward = Reward(mini, references)
    np.testing.assert_allclose(reward(pieces), mini.similarity(pieces, mean)[:, 0], atol=2e-7)
    for reference in (mini.encode(references), mini.encode(references, as_tensor=True).vectors):
        np.testing.assert_allclose(Reward(mini, reference)(pieces), reward(pieces), atol=2e-7)


def test_a_prompt_for_each_piece_counts_in_place_of_the_reference(mini):
    prompts = ["an Irish jig", "a drone"]
    expected = np.diag(mini.similarity([JIG, DRONE], prompts))
    np.testing.assert_allclose(Reward(mini)([JIG, DRONE], prompts), expected, atol=2e-7)
    np.testing.assert_allclose(Reward(mini, "a march")([JIG, DRONE], prompts), expected, atol=2e-7)
    for pieces, given, said in (([JIG], prompts, "2 prompts for 1 pieces"), ([JIG], None, "has no reference")):
        with pytest.raises(DataError, match=said):
            Reward(mini)(pieces, given)
    with pytest.raises(DataError, match=r"a reference has no vector: lost.mid does not exist"):
        Reward(mini, ["a jig", "lost.mid"])
    with pytest.raises(DataError, match="there is none"):
        Reward(mini, [])
    with pytest.raises(ConfigError, match="'abcd' is no kind"):
        Reward(mini, "a jig", kind="abcd")


def test_one_piece_conversations_and_what_is_missing(mini):
    """Found by trying: the letters of a string alone were pieces, and the messages of a chat were broken ones."""
    reward = Reward(mini, JIG, kind="abc")
    assert reward(JIG) == pytest.approx([1], abs=1e-6)
    chat = [[{"role": "user", "content": "a jig"}, {"role": "assistant", "content": JIG}], None, [], [{"role": "x"}]]
    assert reward(chat).tolist() == pytest.approx([1, -1, -1, -1], abs=1e-6)
    assert reward([]).shape == (0,)


@pytest.mark.parametrize("kind", ["abc", None])
def test_what_a_generator_wrote_is_no_path_and_no_words(mini, tmp_path, monkeypatch, kind):
    """The prompt repeated, or the name of the reference, must not be the best answer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.abc").write_text(JIG)
    reward = Reward(mini, JIG, kind=kind, broken=-2.0)
    scored = reward.score(["best.abc", "an Irish jig", "", "X:1\nK:G\n", JIG, "\0", "(" * 3000])
    assert scored.values.tolist() == pytest.approx([-2, -2, -2, -2, 1, -2, -2], abs=1e-6)
    assert [error is None for error in scored.errors] == [False] * 4 + [True] + [False] * 2


def test_broken_bytes_have_the_stated_value(mini):
    good = midi(60, 62, 64)
    scored = Reward(mini, good, kind="midi", broken=0.0).score([good, good[:30], b"", JIG.encode(), bytearray(good)])
    assert scored.values.tolist() == pytest.approx([1, 0, 0, 0, 1], abs=1e-6)
    assert np.isnan(Reward(mini, good, broken=np.nan)([b"MThd"])).all()


def test_the_same_batch_has_the_same_reward_and_other_batches_nearly(mini):
    rng = np.random.default_rng(0)
    pieces = [JIG.replace("GAB", "".join(rng.choice(list("ABCDEFG"), 3))) for _ in range(64)]
    reward = Reward(mini, "an Irish jig", kind="abc")
    first = reward(pieces)
    np.testing.assert_array_equal(reward(pieces), first)
    np.testing.assert_allclose([reward([piece])[0] for piece in pieces[:8]], first[:8], atol=1e-5)


WATCH = """
import json, os, sys
from clamp3 import Clamp3, Reward
reward = Reward(Clamp3.from_pretrained("mini"), "an Irish jig", kind="abc")
reward({pieces!r})
events, watched = [], ("open", "subprocess.Popen", "os.fork", "os.posix_spawn", "os.mkdir", "os.rename")
def hook(event, args):
    if event in watched:
        path, mode, flags = (*args, None, None, None)[:3] if event == "open" else (None, None, os.O_WRONLY)
        if (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            events.append([event, str(path)])
sys.addaudithook(hook)
reward({pieces!r})
print(json.dumps(events))
"""


def test_nothing_is_written_and_no_process_started(tmp_path):
    code = WATCH.format(pieces=[JIG, DRONE, "no music"] * 8)
    env = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "code"), "PATH": "", "HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == []
