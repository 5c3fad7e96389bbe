"""Files that hold several pieces: each is an item of its own, everywhere, and a bad one costs only itself."""

import io
import itertools
import json
import signal
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from training_music import write_rows, write_text_model

from clamp3.data.patch_pack import list_symbolic, open_pack
from clamp3.data.record_store import Wanted, open_store
from clamp3.embedding.clamp3 import Clamp3
from clamp3.embedding.extract import extract_folder
from clamp3.errors import FormatError
from clamp3.formats import Kind, kind_of
from clamp3.formats.abc.book import TuneBook, tunes
from clamp3.formats.containers import Container, Member, span
from clamp3.formats.midi import read_midi
from clamp3.formats.pieces import CONTAINERS, Piece, find, pieces_of, read_piece, register, split_name
from clamp3.formats.symbolic import score_to_interleaved, to_symbolic
from clamp3.index.search import ask
from clamp3.index.selection import Selection
from clamp3.jobs.batch import convert_folder
from clamp3.jobs.naming import output_names
from clamp3.jobs.walk import walk
from clamp3.modalities.patches import encode
from clamp3.probe.labels import find_labels
from clamp3.retrieval.pairing import key_of
from clamp3.sources import expanded, source_of
from clamp3.training.alignment import make_alignment_task
from clamp3.training.config import Clamp3Training, M3Training
from clamp3.training.loop import make_accelerator, start_run
from clamp3.training.m3_task import make_m3_task

TUNE = "X:{}\nT:Tune {}\nM:4/4\nL:1/8\nK:{}\n{}\n\n"
SCORE = """<score-partwise><part-list><score-part id="P1"><part-name>x</part-name></score-part></part-list>
<part id="P1"><measure number="1"><attributes><divisions>1</divisions><time><beats>4</beats><beat-type>4</beat-type>
</time></attributes><note><pitch><step>{}</step><octave>4</octave></pitch><duration>4</duration></note></measure></part>
</score-partwise>"""


def tune(number, music="CDEF GABc|"):
    return TUNE.format(number, number, "CDGAF"[int(number) % 5], music)


def to_abc(data, name):
    return score_to_interleaved(data, kind_of(name) or Kind.ABC, name=name)


def convert(folder, out, **options):
    options = {"kinds": [Kind.ABC], "suffix": ".abc", "task": "test", "n_workers": 2, **options}
    return convert_folder(to_abc, folder, out, **options)


def names(folder, **options):
    return [found.relative.as_posix() for found in walk(folder, **options).files]


def texts(path):
    return {piece.name: read_piece(path, piece) for piece in pieces_of(path)}


def make_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


# ABC


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_tune_has_the_fields_of_its_book_and_nothing_of_its_neighbours(tmp_path, end):
    book = (
        "%abc-2.1\nFree words | here.\nM:3/4\n\nX:5\nT:A\nK:C\nCDE|\n\nwords between\n\nX: 7 % seven\nT:B\nK:G\nGAB|\n"
    )
    path = tmp_path / "b.abc"
    path.write_bytes(book.replace("\n", end).encode())
    parts = texts(path)
    assert list(parts) == ["5", "7"]
    assert parts["7"].decode().replace("\r\n", "\n").replace("\r", "\n") == (
        "%abc-2.1\nM:3/4\nX: 7 % seven\nT:B\nK:G\nGAB|\n"
    )
    assert to_abc(parts["7"], "b.abc#7").text == "L:1/8\nM:3/4\nK:G\nV:1 treble\n[V:1]GAB|\n"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("K:C\nCDE|\n", []),
        ("X:1\nK:C\nCDE|\n", ["1"]),
        ("\ufeffX:1\nK:C\nCDE|\nX:2\nK:D\nD|\n", ["1", "2"]),
        ("X:1\nK:C\nC|\nX:1\nK:D\nD|\nX:01\nK:E\nE|\nX:\nK:F\nF|\nX:0\nK:G\nG|\n", ["1", "1-2", "1-3", "4", "0"]),
        ("M:4/4\nK:C\nCDEF|\n\nX:1\nK:D\nD|\n", ["0", "1"]),  # a tune without a number
        ("X:1\nK:C\nC|\nX:|\nX:2\nK:D\nD|\n", ["1", "2"]),  # a rest and the end of a repeat
        ("X:9999999999999999999\nK:C\nC|\nX:3\nK:C\nC|\n", ["999999999", "3"]),
    ],
)
def test_numbers_of_tunes_are_distinct(text, numbers):
    found = list(tunes(io.BytesIO(text.encode())))
    assert [one.number for one in found] == numbers
    assert all(one.stop == two.start for one, two in itertools.pairwise(found))
    assert not found or found[-1].stop == len(text.encode())


def test_blocks_of_any_size_give_the_same_tunes(monkeypatch):
    from clamp3.formats.abc import book

    text = "".join(tune(number, "C" * (number * 7 % 90) + "|") for number in range(1, 200)).encode()
    whole = list(tunes(io.BytesIO(text)))
    assert len(whole) == 199
    for size in (65, 66, 100, 1000):
        monkeypatch.setattr(book, "_BLOCK", size)
        assert list(tunes(io.BytesIO(text))) == whole


def test_utf16_and_latin1_books_are_read(tmp_path):
    (tmp_path / "wide.abc").write_bytes((tune(1) + tune(2)).encode("utf-16"))
    assert list(texts(tmp_path / "wide.abc").values()) == [tune(1).encode(), tune(2).encode()]
    (tmp_path / "old.abc").write_bytes(b"X:1\nT:caf\xe9\nK:C\nC|\nX:2\nT:caf\xc3\xa9\nK:C\nC|\n")
    assert [to_abc(data, "x").notes for data in texts(tmp_path / "old.abc").values()] == [
        ("not UTF-8 (byte 9): read as Latin-1",),
        (),
    ]


def test_a_file_with_one_tune_is_what_it_was(tmp_path):
    text = "Some words\n\n" + tune(3) + "more words\n"
    (tmp_path / "one.abc").write_text(text)
    assert list(pieces_of(tmp_path / "one.abc")) == [] and names(tmp_path) == ["one.abc"]
    convert(tmp_path, tmp_path / "out")
    made = to_abc(text.encode(), "one.abc").text
    assert (tmp_path / "out" / "one.abc").read_text() == made
    assert names(tmp_path / "out") == ["one.abc"]


def test_one_bad_tune_costs_only_itself_and_only_what_changed_is_done_again(tmp_path):
    book = tmp_path / "in" / "jigs.abc"
    book.parent.mkdir()
    book.write_text(tune(1) + "X:2\nT:Nothing\nK:C\n\n" + tune(3) + tune(4))
    summary = convert(book.parent, tmp_path / "out")
    assert summary.ok == 3
    assert summary.failed == [("jigs.abc#2", "the ABC holds a header but no music.")]
    assert names(tmp_path / "out") == ["jigs/1.abc", "jigs/3.abc", "jigs/4.abc"]
    assert (tmp_path / "out/jigs/3.abc").read_text() == to_abc(tune(3).encode(), "x").text
    book.write_text(tune(1) + tune(2) + tune(3, "cccc|") + tune(4) + tune(5))
    again = convert(book.parent, tmp_path / "out")
    assert (again.ok, again.skipped, again.failed) == (3, 2, [])
    book.write_text(tune(1) + tune(2) + "X:3\nK:C\n\n" + tune(4))  # what stands for no tune any more goes
    assert convert(book.parent, tmp_path / "out").failed[0][0] == "jigs.abc#3"
    assert not (tmp_path / "out/jigs/3.abc").exists()


def test_of_whole_files_the_first_tune_is_converted_and_goes_when_each_has_its_own(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "jigs.abc").write_text(tune(1) + tune(2))
    summary = convert(tmp_path / "in", tmp_path / "out", pieces=False)
    assert summary.notes == [("jigs.abc", "first of 2 tunes taken")] and names(tmp_path / "out") == ["jigs.abc"]
    assert (tmp_path / "out" / "jigs.abc").read_text() == to_abc(tune(1).encode(), "x").text
    assert convert(tmp_path / "in", tmp_path / "out").ok == 2
    assert names(tmp_path / "out") == ["jigs/1.abc", "jigs/2.abc"]


def test_a_book_is_encoded_tune_by_tune_and_each_can_be_named(tmp_path):
    book = tmp_path / "jigs.abc"
    book.write_text(tune(1) + tune(2, "cBAG FEDC|"))
    alone = tmp_path / "alone.abc"
    alone.write_text(tune(2, "cBAG FEDC|"))
    model = Clamp3.from_pretrained("mini")
    encoded = model.encode([*expanded([book, alone]), f"{book}#2", f"{book}#9", book])
    assert encoded.names == [f"{book}#1", f"{book}#2", str(alone), f"{book}#2", f"{book}#9", str(book)]
    np.testing.assert_allclose(encoded.vectors[[1, 3]], encoded.vectors[[2, 2]], atol=1e-5)
    np.testing.assert_allclose(encoded.vectors[5], encoded.vectors[0], atol=1e-5)  # a row per input
    assert encoded.errors[4] == f"{book}#9 does not exist (to encode these words, add some that are no file name)."
    extract_folder(model, tmp_path, tmp_path / "out")
    assert names(tmp_path / "out") == ["alone.npy", "jigs/1.npy", "jigs/2.npy"]
    made = np.load(tmp_path / "out/jigs/2.npy")[0]
    np.testing.assert_allclose(made, encoded.vectors[1], atol=1e-5)
    as_it_is = Clamp3.from_pretrained("mini", as_is=True)  # as released: the whole file is one text
    extract_folder(as_it_is, tmp_path / "jigs.abc", tmp_path / "as_is")
    assert names(tmp_path / "as_is") == ["jigs.npy"]


def corpus_tunes(n):
    """Return tunes of music21's corpus, numbered anew."""
    import music21

    found = []
    for path in sorted(Path(music21.__file__).parent.rglob("*.abc")):
        text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
        for part in ("\n" + text).split("\nX:")[1:]:
            if "\nK:" in part:
                found.append(part.partition("\n")[2])
    return [f"X:{number}\n{text.rstrip()}\n\n" for number, text in enumerate(found[:n], 1)]


@pytest.fixture(scope="module")
def corpus_book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    found = corpus_tunes(1000)
    assert len(found) == 1000
    (folder / "book.abc").write_text("%abc\n\n" + "".join(found))
    return folder


JOB = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.unit.test_pieces import convert
convert(Path({folder!r}), Path({out!r}))
"""


def test_every_tune_of_a_large_book_is_converted_once_whatever_kills_the_job(corpus_book, tmp_path):
    out = tmp_path / "out"
    root = str(Path(__file__).parents[2])
    code = JOB.format(path=[root, *sys.path], folder=str(corpus_book), out=str(out))
    for n_rows in (100, 400):
        job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ledger = out / "ledger.jsonl"
        while job.poll() is None and not (ledger.exists() and ledger.read_bytes().count(b"\n") >= n_rows):
            pass
        job.send_signal(signal.SIGKILL)
        job.wait()
    summary = convert(corpus_book, out)
    assert summary.skipped >= 300 and summary.ok + summary.skipped + len(summary.failed) == 1000
    assert len(summary.failed) <= 5  # what abctoolkit's format cannot hold
    rows = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert {row["input"] for row in rows} == {f"book.abc#{number}" for number in range(1, 1001)}
    failed = {name for name, _ in summary.failed}
    wanted = {f"book/{n}.abc" for n in range(1, 1001) if f"book.abc#{n}" not in failed}
    assert set(names(out)) == wanted
    again = convert(corpus_book, out)
    assert (again.ok, again.skipped) == (0, len(wanted))
    alone = corpus_tunes(1000)[499]
    assert (out / "book/500.abc").read_text() == to_abc(alone.encode(), "x").text


def test_every_tune_of_a_large_book_is_searched_and_extracted(corpus_book, tmp_path):
    model = Clamp3.from_pretrained("mini", cache=tmp_path / "cache")
    everything = Selection(keep_duplicates=True)
    answer = ask(model, f"{corpus_book}/book.abc#500", corpus_book, top_k=1000, selection=everything)
    assert answer.n_references + len(answer.failures) == 1000 and len(answer.failures) <= 5
    best = [hit.name for hit in answer.hits if hit.score > 0.9999]
    assert "book.abc#500" in best
    hit = next(hit for hit in answer.hits if hit.name == "book.abc#500")
    title = next(line[2:].strip() for line in corpus_tunes(500)[499].splitlines() if line.startswith("T:"))
    assert hit.title.split() == title.split() and hit.path == f"{corpus_book}/book.abc#500"
    assert ask(model, "a jig", corpus_book).n_cached == answer.n_references
    others = ask(model, f"{corpus_book}/book.abc#500", corpus_book, top_k=1000)
    assert others.remarks and all("book.abc#500" not in (hit.name, *hit.also) for hit in others.hits)
    assert len(others.hits) > 500
    summary = extract_folder(model, corpus_book, tmp_path / "out")
    assert summary.ok == answer.n_references
    assert len(names(tmp_path / "out", kinds=[Kind.FEATURES])) == answer.n_references
    (tmp_path / "alone.abc").write_text(corpus_tunes(7)[6])
    alone = model.encode([tmp_path / "alone.abc"]).vectors[0]
    np.testing.assert_allclose(np.load(tmp_path / "out/book/7.npy")[0], alone, atol=1e-5)


def test_every_tune_of_a_large_book_is_trained_on(corpus_book, tmp_path):
    convert(corpus_book, tmp_path / "music")
    n_tunes = len(names(tmp_path / "music"))
    assert n_tunes >= 995
    small = {"width": 32, "n_layers": 1, "n_heads": 2, "max_patches": 32, "batch_size": 64, "max_steps": 3}
    config = M3Training(data=(tmp_path / "music",), out=tmp_path / "run", decoder_layers=1, eval_split=0.1, **small)
    task = make_m3_task(config, make_accelerator(config))
    assert len(task.train_data) + len(task.eval_data) == n_tunes
    run = start_run(config, make_m3_task)
    assert (run.progress.step, run.reason) == (3, "steps") and (tmp_path / "run/best.safetensors").is_file()
    # The tunes of a book can be named as they are; training reads them as it reads any file.
    (tmp_path / "book.abc").write_bytes((corpus_book / "book.abc").read_bytes())
    made = sorted(name for name in names(tmp_path / "music"))
    rows = [{"id": name, "title": name, "filepaths": [f"music/{name}"]} for name in made]
    rows += [{"id": f"{n}", "title": f"{n}", "filepaths": [f"book.abc#{n}"]} for n in range(1, 1001)]
    rows += [{"id": "lost", "title": "lost", "filepaths": ["book.abc#2000"]}]
    jsonl = tmp_path / "train.jsonl"
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = open_store(jsonl, tmp_path / "pack", Wanted((("text", "abc"),), 0, "clamp3"))
    assert len(store) == n_tunes + 1000 and store.n_problems == 1
    assert store.problems == [f"train.jsonl:{len(rows)}: {tmp_path}/book.abc has no piece 2000."]
    again = open_store(jsonl, tmp_path / "pack", Wanted((("text", "abc"),), 0, "clamp3"))
    number = store.record(n_tunes + 499).files[0][1]
    np.testing.assert_array_equal(
        again.music["symbolic"].read(number, slice(None)), encode("%abc\n" + corpus_tunes(500)[499])
    )
    write_text_model(tmp_path)
    named = write_rows(tmp_path / "named.jsonl", rows[n_tunes : n_tunes + 200])  # of the book, tune by tune
    texts = {"text_model": str(tmp_path), "text_from_scratch": True, "text_length": 16, "hidden_size": 16}
    aligned = Clamp3Training(train_jsonl=named, eval_split=0.1, out=tmp_path / "aligned", **texts, **small)
    trained = start_run(aligned, make_alignment_task)
    assert (trained.progress.step, trained.reason) == (3, "steps")


def test_tunes_of_a_book_are_split_one_by_one_and_packed_anew_when_it_changes(tmp_path):
    (tmp_path / "b.abc").write_text(tune(1) + tune(2))
    (tmp_path / "c.mtf").write_text("ticks_per_beat 480\n")
    found = list_symbolic([tmp_path])
    assert [str(location) for location in found] == [f"{tmp_path}/b.abc#1", f"{tmp_path}/b.abc#2", f"{tmp_path}/c.mtf"]
    assert [location.stem for location in found] == ["b#1", "b#2", "c"]
    pack = open_pack(found, tmp_path / "pack")
    np.testing.assert_array_equal(pack.read(1, slice(None)), encode(tune(2)))
    (tmp_path / "b.abc").write_text(tune(1) + tune(2, "c|"))
    again = open_pack(list_symbolic([tmp_path]), tmp_path / "pack")
    np.testing.assert_array_equal(again.read(1, slice(None)), encode(tune(2, "c|")))


def test_a_book_of_50_000_tunes_is_listed_and_read_in_bounded_memory(tmp_path):
    path = tmp_path / "large.abc"
    with path.open("w") as file:
        for number in range(1, 50_001):
            file.write(tune(number, "CDEF GABc|" * 40))
    size = path.stat().st_size
    assert size > 20 << 20
    tracemalloc.start()
    try:
        n_tunes = n_bytes = 0
        with path.open("rb") as file:
            for member in TuneBook().members(file):
                n_tunes += 1
                if n_tunes % 1000 == 0:
                    with path.open("rb") as again:
                        n_bytes += len(TuneBook().read(again, member.place))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Counts of the numbers, and a block; by no means the book.
    assert n_tunes == 50_000 and n_bytes > 20_000 and peak < 12 << 20


# Archives


def test_a_zip_is_a_folder(tmp_path):
    make_zip(
        tmp_path / "all.zip",
        [
            ("a/one.abc", tune(1)),
            ("a/jigs.abc", tune(1) + tune(2)),
            ("b.musicxml", SCORE.format("C")),
            ("cover.jpg", "x"),
            ("__MACOSX/a/._one.abc", "x"),
            (".hidden.abc", tune(1)),
            ("inner.zip", "PK"),
        ],
    )
    (tmp_path / "c.abc").write_text(tune(3))
    found = walk(tmp_path)
    expected = ["all.zip#a/jigs.abc#1", "all.zip#a/jigs.abc#2", "all.zip#a/one.abc", "all.zip#b.musicxml", "c.abc"]
    assert [file.relative.as_posix() for file in found.files] == expected and not found.problems
    assert names(tmp_path, pieces=False) == ["c.abc"] and names(tmp_path, kinds=[Kind.MUSICXML]) == [expected[3]]
    assert names(tmp_path / "all.zip") == expected[:-1]
    summary = convert(tmp_path, tmp_path / "out", kinds=[Kind.ABC, Kind.MUSICXML])
    assert summary.ok == 5
    made = ["all/a/jigs/1.abc", "all/a/jigs/2.abc", "all/a/one.abc", "all/b.abc", "c.abc"]
    assert names(tmp_path / "out") == made
    assert (tmp_path / "out/all/a/jigs/2.abc").read_text() == to_abc(tune(2).encode(), "x").text
    model = Clamp3.from_pretrained("mini")
    everything = Selection(keep_duplicates=True)
    answer = ask(model, tmp_path / "c.abc", tmp_path / "all.zip", top_k=9, selection=everything)
    assert sorted(hit.name for hit in answer.hits) == expected[:-1] and not answer.failures
    answer = ask(model, f"{tmp_path}/all.zip#a/jigs.abc#2", tmp_path, selection=everything)
    assert (answer.hits[0].name, answer.hits[0].score) == ("all.zip#a/jigs.abc#2", 1.0)
    with pytest.raises(FormatError, match=r"all.zip is an archive; name a file in it, as .*all.zip#a/one.abc"):
        source_of(tmp_path / "all.zip")


def test_hostile_names_in_archives_lead_nowhere(tmp_path):
    hostile = ["../up.abc", "/root.abc", "a/../../b.abc", "c:\\x.abc", "..\\w.abc", "good.abc"]
    (tmp_path / "in").mkdir()
    make_zip(tmp_path / "in" / "z.zip", [(name, tune(1)) for name in hostile])
    with tarfile.open(tmp_path / "in" / "t.tar", "w") as tar:
        for name in hostile:
            member = tarfile.TarInfo(name)
            member.size = len(tune(1))
            tar.addfile(member, io.BytesIO(tune(1).encode()))
        link = tarfile.TarInfo("link.abc")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    summary = convert(tmp_path / "in", tmp_path / "deep" / "out")
    assert summary.ok == 2 and len(summary.failed) == 10
    assert {reason for _, reason in summary.failed} == {"its name leads out of the archive"}
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.abc")) == [
        "deep/out/t/good.abc",
        "deep/out/z/good.abc",
    ]


def test_bombs_overlaps_and_damage_cost_their_members_only(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    make_zip(folder / "bomb.zip", [("bomb.abc", b" " * (9 << 20)), ("a.abc", tune(1))])
    data = bytearray(
        make_zip(folder / "bad.zip", [("a.abc", tune(1)), ("b.abc", tune(2))], zipfile.ZIP_STORED).read_bytes()
    )
    data[data.index(b"Tune 1")] ^= 1
    (folder / "bad.zip").write_bytes(data)
    (folder / "no.zip").write_bytes(b"PK\x03\x04 and nothing")
    (folder / "no.tar").write_bytes(b"no tar")
    (folder / "lies.zip").write_bytes(lying_zip())
    summary = convert(folder, tmp_path / "out")
    reasons = dict(summary.failed)
    assert summary.ok == 2 and sorted(reasons) == [
        "bad.zip#a.abc", "bomb.zip#bomb.abc", "lies.zip#a.abc", "no.tar", "no.zip",
    ]  # fmt: skip
    assert "more than 200 times" in reasons["bomb.zip#bomb.abc"] and "damaged" in reasons["bad.zip#a.abc"]
    data = (folder / "bomb.zip").read_bytes()
    at = data.rindex(b"PK\x05\x06")
    (tmp_path / "huge.zip").write_bytes(data[: at + 12] + (2**31).to_bytes(4, "little") + data[at + 16 :])
    with pytest.raises(FormatError, match="directory has 2147483648 bytes"):
        list(pieces_of(tmp_path / "huge.zip"))


def lying_zip():
    """Return a zip whose directory states a tenth of what a member unpacks to."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.abc", "X:1\nK:C\n" + "C" * 992)
    data = out.getvalue()
    return data.replace((1000).to_bytes(4, "little"), (100).to_bytes(4, "little"))


def test_of_members_with_one_name_the_last_counts(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        make_zip(tmp_path / "z.zip", [("a.abc", tune(1)), ("a.abc", tune(2)), ("./a.abc", tune(3))])
    assert texts(tmp_path / "z.zip") == {"a.abc": tune(3).encode()}


def test_a_shard_of_webdataset_is_read_by_sample(tmp_path):
    with tarfile.open(tmp_path / "shard-000.tar", "w") as tar:
        for key in ("000", "001"):
            for suffix, content in ((".abc", tune(int(key))), (".txt", "a jig"), (".json", "{}"), (".cls", "3")):
                member = tarfile.TarInfo(f"./{key}{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
    assert names(tmp_path, kinds=[Kind.ABC]) == ["shard-000.tar#000.abc", "shard-000.tar#001.abc"]
    assert texts(tmp_path / "shard-000.tar")["001.abc"] == tune(1).encode()
    extract_folder(Clamp3.from_pretrained("mini"), tmp_path, tmp_path / "out")
    outputs = [f"shard-000/{name}.npy" for name in ("000.abc", "000.txt", "001.abc", "001.txt")]
    assert names(tmp_path / "out") == outputs


def test_a_file_that_changes_after_it_was_listed_is_not_read_at_old_places(tmp_path):
    path = tmp_path / "b.abc"
    path.write_text(tune(1) + tune(2))
    first, _ = pieces_of(path)
    path.write_text(tune(1, "c|") + tune(2))
    with pytest.raises(FormatError, match="has changed since it was listed"):
        read_piece(path, first)


# Scores and performances


KERN = "!!!COM: A\n!!!OTL: {0}\n**kern\t**kern\n*M4/4\t*M4/4\n4{1}\t4{1}\n*-\t*-\n!!!ENC: me\n"


def test_pieces_of_a_kern_file(tmp_path):
    one = KERN.format("First", "c")
    (tmp_path / "one.krn").write_text(one)
    (tmp_path / "two.krn").write_text(one + KERN.format("Second", "d"))
    (tmp_path / "segments.krn").write_text(
        "!!!!SEGMENT: a.krn\n" + one + "!!!!SEGMENT: b.krn\n" + KERN.format("B", "e")
    )
    (tmp_path / "bare.krn").write_text("**kern\n4c\n*-\n**kern\n4d\n*-\n")
    (tmp_path / "other.mei").write_text("<mei/>")
    assert list(pieces_of(tmp_path / "one.krn")) == [] == list(pieces_of(tmp_path / "other.mei"))
    assert texts(tmp_path / "two.krn") == {"1": one.encode(), "2": KERN.format("Second", "d").encode()}
    assert list(texts(tmp_path / "segments.krn").values())[1].startswith(b"!!!!SEGMENT: b.krn\n!!!COM")
    assert texts(tmp_path / "bare.krn") == {"1": b"**kern\n4c\n*-\n", "2": b"**kern\n4d\n*-\n"}
    made = to_symbolic(texts(tmp_path / "two.krn")["2"], Kind.SCORE, name="two.krn#2")
    assert "D2" in made.text and "C2" not in made.text


def test_tracks_of_a_midi_file_of_type_2(tmp_path):
    def track(pitch):
        events = bytes([0, 0x90, pitch, 64, 96, 0x80, pitch, 0, 0, 0xFF, 0x2F, 0])
        return b"MTrk" + len(events).to_bytes(4, "big") + events

    head = b"MThd\0\0\0\6\0\2\0\2\1\xe0"
    (tmp_path / "two.mid").write_bytes(head + track(60) + b"XYZW\0\0\0\1\0" + track(62))
    (tmp_path / "one.mid").write_bytes(head[:9] + b"\1" + head[10:] + track(60) + track(62))
    assert names(tmp_path) == ["one.mid", "two.mid#1", "two.mid#2"]
    second = read_midi(texts(tmp_path / "two.mid")["2"])
    assert (
        second.ticks_per_beat == 480 and second.messages[0][0].startswith("note_on") and "62" in second.messages[0][1]
    )


def test_an_opus_stands_for_its_scores(tmp_path):
    opus = (
        '<?xml version="1.0"?><opus xmlns:xlink="http://www.w3.org/1999/xlink"><title>Two</title>'
        '<score xlink:href="a%20b.musicxml"/><opus><score xlink:href="c.musicxml"/></opus>'
        '<score xlink:href="lost.xml"/><score xlink:href="../x.xml"/></opus>'
    )
    for name, step in (("a b.musicxml", "C"), ("c.musicxml", "D"), ("d.musicxml", "E")):
        (tmp_path / name).write_text(SCORE.format(step))
    (tmp_path / "opus.musicxml").write_text(opus)
    assert names(tmp_path) == ["a b.musicxml", "c.musicxml", "d.musicxml"]
    alone = walk(tmp_path / "opus.musicxml")
    assert [found.relative.as_posix() for found in alone.files] == ["a b.musicxml", "c.musicxml"]
    assert [(problem.relative.as_posix(), problem.reason) for problem in alone.problems] == [
        ("lost.xml", "there is no such file"),
        ("opus.musicxml#../x.xml", "the opus names a file outside its folder"),
    ]
    make_zip(tmp_path / "opus.zip", [("o.musicxml", opus), ("c.musicxml", SCORE.format("D"))])
    assert names(tmp_path / "opus.zip") == ["opus.zip#c.musicxml"]


def test_scores_of_an_mxl_file(tmp_path):
    def container(*paths):
        files = "".join(f'<rootfile full-path="{path}" media-type="{kind}"/>' for path, kind in paths)
        return ("META-INF/container.xml", f"<container><rootfiles>{files}</rootfiles></container>")

    score = "application/vnd.recordare.musicxml+xml"
    both = [("s/a.xml", SCORE.format("C")), ("s/b.xml", SCORE.format("D"))]
    links = '<opus xmlns:x="x"><score x:href="b.xml"/><score x:href="a.xml"/></opus>'
    make_zip(tmp_path / "two.mxl", [container(("s/a.xml", score), ("s/b.xml", score)), *both])
    make_zip(tmp_path / "pdf.mxl", [container(("s/a.xml", score), ("s/a.pdf", "application/pdf")), *both])
    make_zip(tmp_path / "bare.mxl", both)
    make_zip(tmp_path / "opus.mxl", [container(("s/o.xml", score)), ("s/o.xml", links), *both])
    assert list(pieces_of(tmp_path / "pdf.mxl")) == []
    wanted = [content.encode() for _, content in both]
    assert list(texts(tmp_path / "two.mxl").values()) == wanted == list(texts(tmp_path / "bare.mxl").values())
    assert list(texts(tmp_path / "opus.mxl").values()) == wanted[::-1]
    convert(tmp_path, tmp_path / "out", kinds=[Kind.MUSICXML])
    assert names(tmp_path / "out")[:2] == ["bare/1.abc", "bare/2.abc"] and "pdf.abc" in names(tmp_path / "out")


# Names


def test_outputs_of_pieces_never_collide():
    inputs = [
        "jigs.abc#1", "jigs.abc#2", "jigs.krn#2", "jigs/1.abc", "x.abc.zip#a.abc", "x.xml", "jigs.xml",
        "z.zip#a/b.abc#3",
    ]  # fmt: skip
    outputs = output_names(map(PurePosixPath, inputs), ".abc")
    assert [str(outputs[PurePosixPath(name)]) for name in inputs] == [
        "jigs/1.abc", "jigs.abc#2.abc", "jigs.krn#2.abc", "jigs/1.abc.abc", "x.abc/a.abc", "x.xml.abc",
        "jigs.abc", "z/a/b/3.abc",
    ]  # fmt: skip
    assert split_name("Prelude in C#.mid") is None and split_name("C#.abc#2") == ("C#.abc", "2")


def test_pieces_have_partners_and_labels_by_the_names_of_their_outputs():
    assert key_of("a/jigs.abc#12") == key_of("a/jigs/12.txt") != key_of("a/jigs.abc#13")
    table = {"jigs.abc#1": "jig", "jigs/2.mid": "reel", "all.zip#a/b.abc": "air"}
    assert find_labels(["jigs/1.npy", "jigs.abc#2", "all/a/b"], table) == (["jig", "reel", "air"], [])


def test_a_real_file_may_have_the_name_of_a_piece(tmp_path):
    (tmp_path / "b.abc").write_text(tune(1) + tune(2))
    (tmp_path / "b.abc#2").write_text(tune(9))
    found = walk(tmp_path)
    assert [file.relative.as_posix() for file in found.files] == ["b.abc#1", "b.abc#2"]
    assert found.files[1].piece is None and [problem.relative.name for problem in found.problems] == ["b.abc#2"]
    assert find(str(tmp_path / "b.abc#2")) is None and source_of(tmp_path / "b.abc#2").piece is None


def test_pieces_survive_json():
    piece = Piece("a#1", Kind.ABC, 5, (("zip", (1, 2)), ("abc", (0, 5, "x"))), (7, 8))
    assert Piece.from_json(piece.to_json()) == piece


class Lines(Container):
    """A container of one's own."""

    def members(self, file):
        for number, line in enumerate(file.read().split(b"\n")):
            yield Member(str(number), Kind.TEXT, len(line), (number,))

    def read(self, file, place):
        return span(file, 0, 1000).split(b"\n")[place[0]]


def test_a_container_of_ones_own_is_registered(tmp_path, monkeypatch):
    monkeypatch.setitem(CONTAINERS, ".lines", None)
    register(".lines", Lines())
    (tmp_path / "a.lines").write_text("a jig\na reel")
    encoded = Clamp3.from_pretrained("mini").encode(expanded([tmp_path / "a.lines"]))
    assert encoded.names == [f"{tmp_path}/a.lines#0", f"{tmp_path}/a.lines#1"] and encoded.ok.all()
    assert names(tmp_path) == ["a.lines#0", "a.lines#1"]


def test_unpacking_is_checked(tmp_path):
    make_zip(tmp_path / "z.zip", [("a.abc", tune(1))])
    (piece,) = pieces_of(tmp_path / "z.zip")
    assert zlib.crc32(read_piece(tmp_path / "z.zip", piece)) == piece.steps[0][1][4]
