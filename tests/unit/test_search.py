"""Ranking stored vectors: order, ties, shapes, and folders with files that do not belong."""

import json
import time

import numpy as np
import pytest

from clamp3.errors import ConfigError, DataError, FormatError
from clamp3.formats import Kind
from clamp3.formats.titles import title_of
from clamp3.index.ranking import Hit, cosine, rank, search
from clamp3.index.render import as_json, as_lines, as_table, columns, shorten
from clamp3.index.vectors import load_folder, read_vector

pytestmark = pytest.mark.kernels


def npy(array, *, allow_pickle=False):
    import io

    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def test_cosine_of_known_angles():
    reference = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [5.0, 5.0], [0.0, 0.0]], np.float32)
    expected = [1.0, 0.0, -1.0, np.sqrt(0.5), 0.0]
    np.testing.assert_allclose(cosine(np.array([[4.0, 0.0]]), reference), expected, atol=1e-7)


def test_rank_equals_a_full_sort():
    rng = np.random.default_rng(0)
    query, reference = rng.standard_normal(8), rng.standard_normal((50, 8)).astype(np.float32)
    oracle = [float(query @ row / np.linalg.norm(query) / np.linalg.norm(row)) for row in reference.astype(np.float64)]
    expected = sorted(range(50), key=lambda row: -oracle[row])
    for top_k in (1, 7, 50, 80):
        found = rank(query, reference, top_k)
        assert [row for row, _ in found] == expected[:top_k]
        np.testing.assert_allclose([score for _, score in found], [oracle[row] for row in expected[:top_k]], atol=1e-6)


def test_equal_scores_are_ordered_by_name_also_at_the_cut():
    reference = np.ones((6, 16), np.float32) * np.array([[3], [1], [2], [7], [5], [9]], np.float32)
    names = ["f", "b", "d", "a", "e", "c"]
    assert [names[row] for row, _ in rank(np.ones(16), reference, 3, names)] == ["a", "b", "c"]
    assert [row for row, _ in rank(np.ones(16), reference, 3)] == [0, 1, 2]


def test_the_order_does_not_depend_on_the_number_of_rows_around():
    rng = np.random.default_rng(1)
    row = rng.standard_normal(768).astype(np.float32)
    for n in (2, 3, 8193):
        reference = np.tile(row, (n, 1))
        scores = cosine(rng.standard_normal(768), reference)
        assert len(set(scores.tolist())) == 1


@pytest.mark.parametrize("top_k", [0, -3])
def test_top_k_below_one_is_refused(top_k):
    with pytest.raises(ConfigError, match="at least 1"):
        rank(np.ones(2), np.ones((3, 2)), top_k)


def test_widths_that_differ_name_both():
    with pytest.raises(DataError, match=r"width 3 .*\(4, 2\)"):
        cosine(np.ones(3), np.ones((4, 2)))
    with pytest.raises(DataError, match="one vector"):
        cosine(np.ones((2, 2)), np.ones((4, 2)))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "not a readable"),
        (b"\x93NUMPY\x01\x00garbage", "not a readable"),
        (npy(np.ones(4)).replace(b"(4,), }", b"(4,     "), "not a readable"),
        (npy(np.ones(4)).replace(b"(4,), }".ljust(25), b"(99999999999999999999,),}"), "not a readable"),
        (npy(np.array([{"a": 1}], object), allow_pickle=True), "pickled content is never read"),
        (npy(np.array([1.0, np.nan])), "NaN or infinite"),
        (npy(np.zeros(4)), "all zeros"),
        (npy(np.ones((2, 4))), r"shape \(2, 4\)"),
        (npy(np.ones((1, 5, 4))), "--get_global"),
        (npy(np.array(["a"])), "not numbers"),
        (npy(np.float32(3)), "shape"),
    ],
)
def test_what_is_no_vector_is_named(data, match):
    with pytest.raises(FormatError, match=match):
        read_vector(data, "x.npy")


def test_a_folder_keeps_full_names_and_reports_the_rest(tmp_path):
    vector = np.arange(1, 5, dtype=np.float32)
    for name in ("Op.27 No.1.npy", "Op.27 No.2.NPY", "sub/deep/x.npy"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(npy(vector[None]))
    (tmp_path / "wide.npy").write_bytes(npy(np.ones((1, 9), np.float32)))
    (tmp_path / "pickled.npy").write_bytes(npy(np.array([None], object), allow_pickle=True))
    (tmp_path / "cover.jpg").write_bytes(b"jpg")
    references = load_folder(tmp_path)
    assert references.names == ["Op.27 No.1", "Op.27 No.2", "sub/deep/x"]
    assert references.vectors.shape == (3, 4) and references.vectors.dtype == np.float32
    assert [name for name, _ in references.problems] == ["pickled.npy", "wide.npy"]
    hits = search(vector, references, 2)
    assert [(hit.rank, hit.name, hit.score) for hit in hits] == [(1, "Op.27 No.1", 1.0), (2, "Op.27 No.2", 1.0)]


def test_an_empty_or_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="no global vector"):
        load_folder(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        load_folder(tmp_path / "nowhere")


def test_results_as_lines_table_and_json():
    hits = [Hit(1, "a/月", 0.51234, "彩云追月"), Hit(2, "b", -0.2)]
    assert as_lines(hits) == "a/月\t0.5123\t彩云追月\nb\t-0.2000\t"
    first, second = as_table(hits).splitlines()
    assert first == "   1   0.5123  彩云追月  a/月" and second == "   2  -0.2000            b"
    assert columns("彩e\u0301") == 3 and shorten("彩云追月", 5) == "彩云…"
    parsed = json.loads(as_json(hits, query="q"))
    assert parsed["query"] == "q" and parsed["results"][0]["title"] == "彩云追月"
    assert "title" not in parsed["results"][1]


@pytest.mark.parametrize(
    ("kind", "data", "title"),
    [
        (Kind.ABC, "X:1\nT: Drowsy  Maggie % a reel\nT:other\nK:D\n", "Drowsy Maggie"),
        (Kind.ABC, "X:1\nT:Untitled\nT:Second\nK:D\n", "Second"),
        (Kind.ABC, "%%score 1\nK:D\n", ""),
        (Kind.MUSICXML, "<work><work-title>Op. 1 &amp; 2</work-title></work><part id='a'/>", "Op. 1 & 2"),
        (
            Kind.MUSICXML,
            "<work><work-title>Lieder</work-title></work><movement-title>Nacht</movement-title>",
            "Lieder: Nacht",
        ),
        (Kind.MUSICXML, "<movement-title>bwv66.6.mxl</movement-title>", "bwv66.6"),
        (
            Kind.MUSICXML,
            "<movement-title>x.xml</movement-title><credit page='1'><credit-words>Choral</credit-words></credit>",
            "Choral",
        ),
        (Kind.MUSICXML, "<credit><credit-words>PDF © 2004 by permission</credit-words></credit>", ""),
        (Kind.MUSICXML, "<score><part id='P1'><work-title>not a head</work-title></part></score>", ""),
        (Kind.SCORE, "!!!COM: Palestrina\n!!!OPR: Missa\n!!!OTL@@LAT: Kyrie\n**kern\n", "Missa: Kyrie"),
        (Kind.MIDI, "MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\x20\0\x01\x7f\x00\x7f", ""),
        (Kind.MTF, "ticks_per_beat 480\ntrack_name Clair de lune 0\n", "Clair de lune"),
        (Kind.TEXT, "\n  a quiet song\nmore", "a quiet song"),
        (Kind.TEXT, "~~ |\n;, i ' l : ^\n~ Nocturne ~\n", "~ Nocturne ~"),
        (Kind.MUSICXML, "<work-title>|~ ¬ l'; _^</work-title><movement-title>Nacht</movement-title>", "Nacht"),
        (Kind.MUSICXML, "<credit><credit-words>§|I l1 ^ ~ .. ¬</credit-words></credit>", ""),
        (Kind.ABC, "T:\ufffd\ufffd\ufffd a\nT:Nr. 3\n", "Nr. 3"),
        (Kind.ABC, "T:II\n", "II"),
        (Kind.ABC, "T:A.B.C.\nT:J. S. B.\n", ""),
        (Kind.FEATURES, "x", ""),
    ],
)
def test_titles(kind, data, title):
    assert title_of(data.encode(), kind) == title


@pytest.mark.parametrize(
    "hostile", ["<credit>", "<credit >", "<work-title>", "<work-title><<<<", "<title>", "!!!OPR", "T:"]
)
def test_hostile_heads_cost_no_time(hostile):
    started = time.perf_counter()
    for kind in (Kind.MUSICXML, Kind.SCORE, Kind.ABC):
        title_of((hostile * (200_000 // len(hostile)) + "</work-title>").encode(), kind)
    assert time.perf_counter() - started < 3


def test_the_title_of_mei_stands_among_other_elements():
    head = b'<mei><meiHead><fileDesc><titleStmt><title/><title type="main">Ave Maria</title></titleStmt>'
    assert title_of(head, Kind.SCORE) == "Ave Maria"


def test_a_title_can_always_be_written():
    assert title_of(b"track_name tune \\ud83c 0", Kind.MTF) == "tune ?"


def test_the_title_of_a_midi_file_is_its_first_track_name():
    events = b"\x00\xff\x01\x03abc" + b"\x00\xff\x03\x05F\xfcr E" + b"\x00\x90\x40\x40"
    data = b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk" + len(events).to_bytes(4, "big") + events
    assert title_of(data, Kind.MIDI) == "Für E"


@pytest.mark.parametrize("kind", Kind.known.values())
def test_garbage_has_no_title_and_raises_nothing(kind):
    garbage = bytes(range(1, 256)) * 3
    for data in (b"", b"PK\x03\x04", b"MTrk", garbage):
        assert isinstance(title_of(data, kind), str)
