"""What notebooks and applications call: similarity, ranks, tables, tensors, devices, `with`, several threads."""

import re
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from clamp3 import Clamp3
from clamp3.embedding.encoded import Encoded
from clamp3.errors import ConfigError, DataError
from clamp3.formats import Kind
from clamp3.jobs import parallel

TUNES = [f"X:1\nT:Tune {i}\nL:1/8\nM:6/8\nK:{key}\n" + "GAG GAB|ABA ABd|" * (i + 1) for i, key in enumerate("GDACEF")]
XML = (
    '<score-partwise version="3.1"><part-list><score-part id="P1"><part-name>A</part-name></score-part></part-list>'
    '<part id="P1"><measure number="1"><attributes><divisions>1</divisions></attributes><note><pitch><step>C</step>'
    "<octave>4</octave></pitch><duration>4</duration><type>whole</type></note></measure></part></score-partwise>"
)
TOLERANCE = 5e-6  # what a vector may differ by the batch it was computed in


@pytest.fixture(scope="module")
def mini():
    with Clamp3.from_pretrained("mini") as model:
        yield model


def test_similarity_takes_inputs_vectors_tensors_and_what_was_encoded(mini):
    words, music = ["a jig", "a chorale"], TUNES[:3]
    expected = mini.encode(words, normalize=True).vectors @ mini.encode(music, normalize=True).vectors.T
    left, right = mini.encode(words), mini.encode(music, as_tensor=True)
    for pair in ((words, music), (left, right), (left.vectors, right.vectors), (words, right)):
        np.testing.assert_allclose(mini.similarity(*pair), expected, atol=1e-5)
    assert mini.similarity("a jig", left.vectors[0]).shape == (1, 1)
    own = mini.similarity(words)
    np.testing.assert_allclose(own, own.T)
    np.testing.assert_allclose(np.diag(own), 1, atol=1e-6)
    with pytest.raises(DataError, match="width 256 and 3"):
        mini.similarity(words, np.ones((2, 3)))
    with pytest.raises(DataError, match="passages are not compared"):
        mini.similarity(mini.encode(TUNES[0], windows_bars=2, hop_bars=2))
    with pytest.raises(DataError, match=r"shape \(D,\) or \(N, D\)"):
        mini.similarity(np.ones((2, 2, 2)))


def test_what_has_no_vector_is_nan_with_a_warning(mini):
    with pytest.warns(UserWarning, match=r"1 of 2 inputs have no vector; the first: lost.mid does not exist") as caught:
        scores = mini.similarity(["lost.mid", "a jig"], TUNES[:2])
    assert caught[0].filename == __file__
    assert np.isnan(scores[0]).all() and np.isfinite(scores[1]).all()


def test_rank_orders_as_similarity_says_and_names_what_failed(mini):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranking = mini.rank("a jig in G major", [*TUNES, "lost.mid"])
    scores = mini.similarity("a jig in G major", TUNES)[0]
    assert [one.index for one in ranking] == np.argsort(-scores).tolist()
    assert [one.rank for one in ranking] == list(range(1, 7))
    np.testing.assert_allclose([one.score for one in ranking], np.sort(scores)[::-1])
    assert list(ranking.failed) == [6] and "lost.mid" in ranking.failed[6]
    assert len(mini.rank("a jig", TUNES, top_k=2)) == len(ranking[:2]) == 2 and ranking[0].rank == 1
    assert [one.index for one in mini.rank("a jig", mini.encode(TUNES[:1] * 3).vectors)] == [0, 1, 2]
    with pytest.raises(DataError, match="one query with a vector: there are 2"):
        mini.rank(["a jig", "a reel"], TUNES)
    with pytest.raises(DataError, match=r"lost\.mid does not exist"):
        mini.rank("lost.mid", TUNES)
    with pytest.raises(ConfigError, match="top_k is 0"):
        mini.rank("a jig", TUNES, top_k=0)


def test_vectors_of_length_one_and_tensors(mini):
    plain, unit = mini.encode(["a jig", "lost.mid"]), mini.encode(["a jig", "lost.mid"], normalize=True, as_tensor=True)
    assert unit.vectors.dtype == torch.float32 and str(unit.vectors.device) == mini.device == "cpu"
    length = np.linalg.norm(plain.vectors[0])
    np.testing.assert_allclose(unit.vectors[0].numpy(), plain.vectors[0] / length, atol=1e-7)
    assert unit.vectors[1].isnan().all() and length != pytest.approx(1, abs=0.01)
    assert repr(unit) == repr(plain)
    hidden = mini.encode(TUNES[0], temporal=True, as_tensor=True).temporal[0]
    assert isinstance(hidden, torch.Tensor) and hidden.ndim == 3
    passages = mini.encode(TUNES[3], windows_bars=2, hop_bars=2, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(passages.vectors, axis=1), 1, atol=1e-6)
    with pytest.raises(ConfigError, match="hidden states are not scaled"):
        mini.encode("a jig", temporal=True, normalize=True)


def test_a_bar_is_drawn_where_someone_asks_for_it_and_only_there(mini, capsys):
    mini.encode(TUNES)
    assert capsys.readouterr().err == ""
    mini.encode((tune for tune in TUNES), progress=True)
    assert "6file" in capsys.readouterr().err
    mini.encode(TUNES, progress=True)
    assert "6/6" in capsys.readouterr().err


def test_results_are_tables(mini):
    pandas = pytest.importorskip("pandas")
    encoded = mini.encode(["a jig", "<b>lost</b>.mid"])
    frame = encoded.to_pandas()
    assert frame.columns.tolist() == ["name", "error", "notes", "vector"] and len(frame) == 2
    np.testing.assert_array_equal(frame.vector[0], encoded.vectors[0])
    assert frame.vector[1] is None and pandas.isna(frame.error[0]) and "does not exist" in frame.error[1]
    assert "<b>" not in encoded._repr_html_() and "&lt;b&gt;lost" in encoded._repr_html_()
    assert [line.split()[-1] for line in str(mini.encode(["a jig"])).splitlines()[1:]] == ["notes", "ok"]
    assert "… 2 more" in str(mini.encode(TUNES * 2))
    parts = mini.encode(TUNES[3], windows_bars=2, hop_bars=2)
    assert parts.to_pandas().passage.tolist() == [str(passage) for passage in parts.passages]
    assert "bars 1-2" in str(parts)
    assert mini.encode(TUNES[:2], temporal=True).to_pandas().vector.isna().all()
    ranking = mini.rank("a jig", TUNES[:2])
    assert ranking.to_pandas().columns.tolist() == ["rank", "index", "name", "score"]
    assert repr(ranking).split()[:4] == ["rank", "score", "index", "name"] and "<td>1</td>" in ranking._repr_html_()


def test_what_notebooks_do_with_results(mini):
    """Found by trying: numpy made an object of them, a window alone was refused, a table gave vectors of its heads."""
    pandas = pytest.importorskip("pandas")
    encoded = mini.encode(TUNES[:2], as_tensor=True)
    assert len(encoded) == 2 and np.asarray(encoded).shape == (2, 256) and np.asarray(encoded, "f8").dtype == np.float64
    expected = mini.encode(TUNES[3], windows_bars=2, hop_bars=2)
    assert mini.encode(TUNES[3], windows_bars=2).passages == expected.passages
    for whole in (pandas.DataFrame({"path": ["a.mid"]}), {"path": ["a.mid"]}):
        with pytest.raises(ConfigError, match=r"one of its columns, as table\['path'\]"):
            mini.encode(whole)
    long = "/" + "folder/" * 20 + "bwv1.6.mxl"
    assert f"{long[-47:]}" in str(mini.encode([long])) and long not in str(mini.encode([long]))


def test_without_pandas_one_sentence_says_so(mini, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        mini.rank("a jig", TUNES).to_pandas()


def test_a_model_says_what_it_is(mini):
    fresh = Clamp3.from_pretrained("mini")
    assert re.fullmatch(
        r"Clamp3\(mini-\w{12}\+\w+:float32: text, symbolic, audio; width 256, float32 on cpu\)", repr(fresh)
    )
    fresh.encode("a jig")
    assert "(text loaded)" in repr(fresh)


def test_with_ends_the_worker_and_the_model_can_go_on():
    with Clamp3.from_pretrained("mini") as model:
        first = model.encode([(XML.encode(), Kind.MUSICXML)])
        worker = model._converters._kept.workers[0].process
        assert worker.is_alive()
    worker.join(30)
    assert not worker.is_alive()
    np.testing.assert_array_equal(model.encode([(XML.encode(), Kind.MUSICXML)]).vectors, first.vectors)
    model.close()
    model.close()


def test_moving_to_a_device_keeps_what_is_loaded_and_a_wrong_one_changes_nothing(mini, monkeypatch):
    fresh = Clamp3.from_pretrained("mini")
    before = fresh.encode("a jig").vectors
    tower = fresh.load("text")
    with pytest.raises(ConfigError, match="device 'quantum' cannot be used"):
        fresh.to("quantum")
    assert fresh.to("cpu") is fresh and fresh.load("text") is tower
    assert list(fresh.to("meta")._towers) == ["text"] and fresh.device == "meta"
    assert fresh.load("text").device.type == "meta"
    np.testing.assert_array_equal(fresh.to(torch.device("cpu")).encode("a jig").vectors, before)

    def too_large(modality):
        raise torch.cuda.OutOfMemoryError("too large")

    monkeypatch.setattr(fresh, "_load", too_large)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fresh.to("meta")
    assert fresh.device == "cpu"
    np.testing.assert_array_equal(fresh.encode("a jig").vectors, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_moving_to_the_gpu_and_back(mini):
    model = Clamp3.from_pretrained("mini", device="cpu")
    before = model.encode(["a jig", *TUNES]).vectors
    moved = model.to("cuda").encode(["a jig", *TUNES], as_tensor=True).vectors
    assert moved.device.type == "cuda"
    np.testing.assert_allclose(moved.cpu().numpy(), before, atol=1e-3)
    np.testing.assert_array_equal(model.to("cpu").encode(["a jig", *TUNES]).vectors, before)


def test_eight_threads_get_what_one_gets(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 2 * 24_000).astype(np.float32)
    items = ["a jig", TUNES[0], (XML.encode(), Kind.MUSICXML), (samples, 24_000), "lost.mid", *TUNES[1:], b"no music"]
    turns = [items[i:] + items[:i] for i in range(8)]
    expected = [Clamp3.from_pretrained("mini").encode(turn) for turn in turns]
    loads = []
    main = sys.modules["__main__"]
    with Clamp3.from_pretrained("mini", cache=tmp_path / "vectors.sqlite") as shared:
        load = shared._load
        shared._load = lambda modality: loads.append(modality) or load(modality)
        start = threading.Barrier(8)

        def work(turn):
            start.wait()
            return [shared.encode(turn) for _ in range(2)]

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(work, turns))
        workers = [] if shared._converters._kept is None else shared._converters._kept.workers
        assert len(workers) <= 1  # of eight threads' workers one stays ready
    assert sorted(loads) == ["audio", "symbolic", "text"]  # none twice
    assert sys.modules["__main__"] is main
    for both, one in zip(found, expected, strict=True):
        for encoded in both:
            assert isinstance(encoded, Encoded) and encoded.errors == one.errors and encoded.names == one.names
            np.testing.assert_allclose(encoded.vectors, one.vectors, atol=TOLERANCE)


def test_main_is_hidden_from_workers_by_one_thread_at_a_time():
    """Two that hid and restored it in turn would leave a stand-in behind."""
    main = sys.modules["__main__"]
    workers = [parallel.Workers(len) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda one: [outcome.value for outcome in one.map(["ab", "c"], n_workers=1)], workers))
    assert [sorted(values) for values in found] == [[1, 2]] * 6
    assert sys.modules["__main__"] is main
    for one in workers:
        one.close()
        assert one._kept is None
