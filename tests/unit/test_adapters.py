"""The model as other packages call one: each adapter runs a small task in its real package."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from clamp3 import Clamp3, Reward
from clamp3.adapters.stub import StubClamp3
from clamp3.errors import DataError
from clamp3.index.search import ask

RATE = 24_000
METRES = {"jig": ("6/8", "GAG GAB|"), "waltz": ("3/4", "G2A2B2|")}
TUNES = [f"X:1\nL:1/8\nM:{metre}\nK:{key}\n{bar * 4}" for key in "CGDAF" for metre, bar in METRES.values()]
WORDS = [f"a {kind} in {key}" for key in "CGDAF" for kind in METRES]


@pytest.fixture(scope="module")
def mini():
    with Clamp3.from_pretrained("mini") as model:
        yield model


def sound(seconds, pitch):
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def wav(samples):
    out = io.BytesIO()
    soundfile.write(out, samples, RATE, format="WAV")
    return out.getvalue()


def test_adapters_are_imported_by_their_own_module_only():
    packages = ["mteb", "sentence_transformers", "frechet_music_distance", "fadtk", "datasets"]
    code = f"import sys, clamp3, clamp3.adapters; print([p for p in {packages} if p in sys.modules])"
    root = Path(__file__).resolve().parents[2] / "code"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(root)})
    assert run.stdout == "[]\n", run.stderr


@pytest.mark.parametrize("name", ["mteb", "sentence_transformers", "frechet_music_distance", "fadtk"])
def test_an_absent_package_is_one_sentence(name, monkeypatch):
    for module in [m for m in sys.modules if m.split(".")[0] == name or m == f"clamp3.adapters.{name}"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"this adapter needs .*: pip install "):
        __import__(f"clamp3.adapters.{name}")


def test_the_stub_is_a_model_without_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clamp3.models.checkpoint.open_checkpoint", lambda *_: pytest.fail("reads weights"))
    model, again, other = StubClamp3(), StubClamp3(), StubClamp3(seed=1)
    items = ["a jig", TUNES[0], (sound(2, 440), RATE), "lost.mid", "a jig " * 100]
    encoded = model.encode(items)
    assert [error is None for error in encoded.errors] == [True, True, True, False, True]
    np.testing.assert_array_equal(again.encode(items).vectors, encoded.vectors)
    assert np.abs(other.encode(items).vectors - encoded.vectors)[encoded.ok].min(axis=1).max() > 0
    assert model.identity == again.identity != other.identity and "StubClamp3(stub-" in repr(model)
    assert model.width == 32 and StubClamp3(width=64, dtype="bfloat16").encode("a jig").vectors.shape == (1, 64)
    assert len(model.rank("a jig", TUNES)) == 10 and np.isfinite(Reward(model, "a jig", kind="abc")(TUNES)).all()
    assert model.to("cpu").tokenizer().encode("a jig")[0] == 0 and not list(tmp_path.iterdir())
    model.confirm()
    (tmp_path / "jig.abc").write_text(TUNES[0])
    answer = ask(model, "a jig", tmp_path)
    assert [hit.name for hit in answer.hits] == ["jig.abc"] and answer.notes == []


def test_the_module_of_sentence_transformers_gives_our_vectors(mini, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from clamp3.adapters.sentence_transformers import Clamp3Module

    (tmp_path / "tune.abc").write_text(TUNES[0] * 1)
    (tmp_path / "take.wav").write_bytes(wav(sound(3, 330)))
    model = sentence_transformers.SentenceTransformer(modules=[Clamp3Module("mini")], device="cpu")
    items = ["an Irish jig", TUNES[0][:-1] + "GABc|" * 2000, str(tmp_path / "tune.abc"), str(tmp_path / "take.wav")]
    items += [{"array": sound(2, 440), "sampling_rate": RATE}, "a slow air " * 300]
    expected = mini.encode(items).vectors
    np.testing.assert_allclose(model.encode(items), expected, atol=1e-5)
    np.testing.assert_allclose(model.encode(items[::-1], batch_size=1), expected[::-1], atol=1e-5)
    assert model.get_embedding_dimension() == 256
    prompted = model.encode(["jig"], prompt="an Irish ")
    np.testing.assert_allclose(prompted, mini.encode(["an Irish jig"]).vectors, atol=1e-5)
    with pytest.raises(DataError, match=r"lost\.mid does not exist"):
        model.encode(["a jig", "lost.mid"])


@pytest.mark.parametrize("loss", ["MultipleNegativesRankingLoss", "CachedMultipleNegativesRankingLoss"])
def test_losses_trainer_and_evaluator_of_sentence_transformers_run(tmp_path, loss):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from datasets import Dataset
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    from clamp3.adapters.sentence_transformers import WEIGHTS, Clamp3Module

    torch.manual_seed(0)
    model = sentence_transformers.SentenceTransformer(modules=[Clamp3Module("mini")], device="cpu")
    numbered = [{str(i): text for i, text in enumerate(texts)} for texts in (WORDS, TUNES)]
    evaluator = InformationRetrievalEvaluator(
        *numbered, {str(i): {str(i)} for i in range(10)}, mrr_at_k=[10], write_csv=False
    )
    before = evaluator(model)["cosine_mrr@10"]
    arguments = sentence_transformers.SentenceTransformerTrainingArguments(
        str(tmp_path / "run"), max_steps=5, per_device_train_batch_size=10, learning_rate=1e-3, report_to=[], seed=0,
        save_strategy="no", logging_steps=1, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = sentence_transformers.SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({"anchor": WORDS, "positive": TUNES}),
        loss=getattr(losses, loss)(model, **({"mini_batch_size": 4} if loss.startswith("Cached") else {})),
    )
    trainer.train()
    reported = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert reported[-1] < reported[0] and evaluator(model)["cosine_mrr@10"] > before
    model.save_pretrained(str(tmp_path / "saved"))
    expected = model.encode(WORDS)
    opened = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True, device="cpu")
    np.testing.assert_array_equal(opened.encode(WORDS), expected)
    ours = Clamp3.from_pretrained(tmp_path / "saved" / WEIGHTS)
    np.testing.assert_allclose(ours.encode(WORDS).vectors, expected, atol=1e-5)


def recordings(generator, n=2, duration_s=1.0, sampling_rate=16_000):
    """What mteb's mock tasks draw, as a data set of files holds it: stereo, encoded."""
    made = []
    for _ in range(n):
        out = io.BytesIO()
        samples = generator.uniform(-1, 1, (int(duration_s * sampling_rate), 2))
        soundfile.write(out, samples, sampling_rate, format="FLAC")
        made.append({"bytes": out.getvalue(), "path": None})
    return made


def test_tasks_of_mteb_run(mini, monkeypatch):
    """Its own mock tasks, in mteb's evaluators: text to audio and back, zero-shot classification, clustering, STS."""
    mteb = pytest.importorskip("mteb")
    from mteb.mocks.mock_tasks import clustering, retrieval, sts, zeroshot_classification

    from clamp3.adapters.mteb import Clamp3Encoder

    for module in (clustering, retrieval, zeroshot_classification):  # they would decode with torchcodec
        monkeypatch.setattr(module, "create_mock_audio", recordings)
    encoder = Clamp3Encoder(mini)
    assert isinstance(encoder, mteb.EncoderProtocol) and encoder.mteb_model_meta.name == "clamp3/mini"
    tasks = [
        retrieval.MockAny2AnyRetrievalT2ATask(),
        retrieval.MockAny2AnyRetrievalA2TTask(),
        retrieval.MockAny2AnyRetrievalA2ATask(),
        zeroshot_classification.MockAudioZeroshotClassificationTask(),
        clustering.MockAudioClusteringTask(),
        sts.MockSTSTask(),
    ]
    result = mteb.evaluate(encoder, tasks, cache=None, co2_tracker=False, show_progress_bar=False)
    scores = {one.task_name: one.get_score() for one in result.task_results}
    assert len(scores) == 6 and np.isfinite(list(scores.values())).all()
    assert scores["MockAny2AnyRetrievalA2A"] == 1  # each recording finds itself


def test_rows_of_mteb_with_words_and_a_recording_and_with_neither(mini):
    pytest.importorskip("mteb")
    from torch.utils.data import DataLoader

    from clamp3.adapters.mteb import Clamp3Encoder

    encoder = Clamp3Encoder(mini)
    rows = [{"text": "a jig", "audio": {"array": np.stack([sound(2, 440)] * 2), "sampling_rate": RATE}}]
    loader = DataLoader(rows, collate_fn=lambda batch: {key: [row[key] for row in batch] for key in batch[0]})
    both = mini.encode(["a jig", (sound(2, 440), RATE)], normalize=True).vectors
    np.testing.assert_allclose(encoder.encode(loader), both.mean(axis=0, keepdims=True), atol=1e-5)
    with pytest.raises(DataError, match="the rows of this task have image"):
        encoder.encode(DataLoader([{"image": 1}]))
    with pytest.raises(DataError, match="is empty"):
        encoder.encode(DataLoader([{"text": " "}]))


def test_the_frechet_music_distance_of_two_folders(mini, tmp_path, monkeypatch):
    """In that package, and equal to ours; files of several kinds, changed under the same path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    package = pytest.importorskip("frechet_music_distance")
    from clamp3.adapters.frechet_music_distance import Clamp3Extractor
    from clamp3.retrieval.frechet import frechet_distance

    folders = [tmp_path / "real", tmp_path / "generated"]
    for folder, start in zip(folders, (0, 1), strict=True):
        folder.mkdir()
        for number, tune in enumerate(TUNES[start::2]):
            (folder / f"{number}.abc").write_text(tune)
        (folder / "take.wav").write_bytes(wav(sound(2, 440)))
        (folder / "notes.txt").write_text("no music")
    metric = package.FrechetMusicDistance(feature_extractor=Clamp3Extractor(mini, verbose=False), verbose=False)
    found = metric.score(folders[0], folders[1])
    ours = [mini.encode(sorted(folder.glob("*.[aw]*"))).vectors for folder in folders[::-1]]
    with pytest.warns(UserWarning, match="fewer vectors than width"):
        expected = frechet_distance(*ours, estimator="mle")
    assert found == pytest.approx(expected, rel=1e-4) and found > 0.1
    assert metric.score(folders[0], folders[0]) == pytest.approx(0, abs=1e-4)
    assert metric.score_individual(folders[0], folders[1] / "0.abc") > 0
    (folders[1] / "0.abc").write_text(TUNES[0])
    assert metric.score(folders[0], folders[1]) != found  # nothing is remembered by path
    (folders[1] / "broken.mid").write_bytes(b"MThd")
    with pytest.raises(DataError, match=r"broken\.mid"):
        metric.score(folders[0], folders[1])
    with pytest.raises(DataError, match="there is no music"):
        (tmp_path / "empty").mkdir()
        Clamp3Extractor(mini).extract_features(tmp_path / "empty")


class Probe(torch.nn.Module):
    """What MARBLE's BaseTask does with an encoder: layers to one, mean over time, a decoder."""

    def __init__(self, encoder, n_classes):
        super().__init__()
        self.encoder, self.decoder = encoder, torch.nn.Linear(encoder.NUM_FEATURES, n_classes)

    def forward(self, wavs):
        hidden = torch.stack(tuple(self.encoder(wavs)), dim=1)[:, 0]  # (B, T, D): LayerSelector, layer 0
        return self.decoder(hidden.mean(dim=1))


def test_a_probe_of_the_shape_of_marble_learns(mini):
    """MARBLE is not on PyPI: a harness of its shape stands for it."""
    from clamp3.adapters.marble import Clamp3Encoder

    encoder = Clamp3Encoder(mini)
    assert (encoder.NAME, encoder.SAMPLING_RATE, encoder.NUM_FEATURES) == ("CLaMP3", RATE, 256)
    clips = torch.stack([torch.from_numpy(sound(2, pitch)) for pitch in (220, 233, 880, 932)])
    labels = torch.tensor([0, 0, 1, 1])
    (vectors,) = encoder(clips)
    expected = mini.encode([(clip, RATE) for clip in clips]).vectors
    np.testing.assert_allclose(vectors[:, 0].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(encoder(clips[:, None])[0], vectors, atol=1e-5)  # MARBLE's (B, 1, samples)
    probe = Probe(encoder, 2)
    assert [name for name, _ in probe.named_parameters()] == ["decoder.weight", "decoder.bias"]  # the encoder is frozen
    optimizer = torch.optim.Adam(probe.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(probe(clips), labels).backward()
        optimizer.step()
    assert probe(clips).argmax(1).tolist() == labels.tolist()
    (parts,) = Clamp3Encoder(mini, windows_sec=5)(clips.repeat(1, 8))
    assert parts.shape == (4, 4, 256)
    assert encoder(texts=["a jig", "tune.abc"])[0].shape == (2, 1, 256)
    for call, said in ((lambda: encoder(), "give wavs or texts"), (lambda: encoder(texts=""), "is empty")):
        with pytest.raises(DataError, match=said):
            call()
    with pytest.raises(Exception, match="train_mode is 'full'"):
        Clamp3Encoder(mini, train_mode="full")


def test_the_distance_of_fadtk(tmp_path):
    pytest.importorskip("fadtk")
    from fadtk import FrechetAudioDistance

    from clamp3.adapters.fadtk import Clamp3Loader

    loader = Clamp3Loader("mini")
    assert loader.name.startswith("clamp3-mini-") and "/" not in loader.name and ":" not in loader.name
    metric = FrechetAudioDistance(loader, audio_load_worker=1)
    seconds = (3, 9, 21)
    for folder, pitches in (("real", (220, 230, 240)), ("generated", (880, 890, 900))):
        for pitch in pitches:
            path = tmp_path / folder / f"{pitch}.wav"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(wav(sound(seconds[pitch % 3], pitch)))
            metric.cache_embedding_file(path)
            assert len(metric.read_embedding_file(path)) == {3: 2, 9: 2, 21: 4}[seconds[pitch % 3]]
    assert metric.score(tmp_path / "real", tmp_path / "generated") > 1
    assert metric.score(tmp_path / "real", tmp_path / "real") == pytest.approx(0, abs=1e-3)


def test_short_recordings_are_prepared_here_and_long_ones_in_processes(mini, monkeypatch):
    """Starting processes for every batch of a training loop took most of its time."""
    monkeypatch.setattr("clamp3.jobs.parallel.process_map", lambda *_, **__: pytest.fail("starts processes"))
    assert not mini.encode([(sound(5, 440), RATE)] * 16).errors
    with pytest.raises(pytest.fail.Exception):
        mini.encode([(sound(60, 440), RATE)] * 16)
