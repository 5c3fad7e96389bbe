"""A file format of one's own: registered in a few lines, then converted and encoded like any other."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from clamp3.embedding.clamp3 import Clamp3
from clamp3.errors import FormatError
from clamp3.formats import SUFFIXES, Kind, kind_of, register_kind, symbolic
from clamp3.formats.abc.interleave import interleave
from clamp3.jobs.parallel import process_map


# The registration, and its use in the first test, take 15 lines at most.
def solfa(data, name):
    notes = ["CDEFGAB"["drmfslt".index(letter)] for letter in data.decode().split()]
    return interleave("L:1/8\nM:4/8\nK:C\n" + "".join(f"{''.join(notes[i : i + 4])}|" for i in range(0, len(notes), 4)))


@pytest.fixture
def kind():
    kind = register_kind("solfa", [".solfa"])
    symbolic.register(kind, solfa)
    yield kind
    for table, key in ((SUFFIXES, ".solfa"), (Kind.known, kind), (symbolic.CONVERTERS, kind)):
        table.pop(key)


def test_a_file_format_of_ones_own_is_encoded_beside_others(kind, tmp_path):
    (tmp_path / "a.solfa").write_text("d r m f s l t s m s d d")
    (tmp_path / "b.abc").write_text("L:1/8\nM:4/8\nK:C\nCDEF|GABG|EGCC|\n")
    ours, theirs = Clamp3.from_pretrained("mini").encode([tmp_path / "a.solfa", tmp_path / "b.abc"]).vectors
    np.testing.assert_array_equal(ours, theirs)


def test_its_text_is_interleaved_abc(kind, tmp_path):
    assert kind_of("x/A.Solfa") == kind == Kind("solfa")
    made = symbolic.to_symbolic(b"d r m f", kind, name="a.solfa")
    assert made.text.splitlines()[-1] == "[V:1]CDEF|" and not symbolic.is_mtf(made.text)
    with pytest.raises(FormatError, match="is empty"):
        symbolic.to_symbolic(b" ", kind, name="a.solfa")


def test_a_folder_of_it_is_converted_by_worker_processes(kind, tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.solfa").write_text(" ".join("drmfsltdrmfslt"[number:][:8]))
    (tmp_path / "bad.solfa").write_text("d x")
    model = Clamp3.from_pretrained("mini")
    results = {result.name: result for result in model.stream(sorted(tmp_path.iterdir()), n_workers=2)}
    assert [name for name, result in results.items() if result.error] == [str(tmp_path / "bad.solfa")]
    alone = model.encode([tmp_path / "3.solfa"]).vectors[0]
    np.testing.assert_allclose(results[str(tmp_path / "3.solfa")].value, alone, atol=1e-5)


def convert(kind_and_data):
    kind, data = kind_and_data
    return kind, symbolic.to_symbolic(data, kind, name="a").text


def test_a_kind_travels_with_its_converter(kind):
    for outcome in process_map(convert, [(kind, b"d r m f")] * 3, n_workers=2):
        assert outcome.error is None and outcome.value == (kind, "L:1/8\nM:4/8\nK:C\nV:1 treble\n[V:1]CDEF|\n")
    code = (  # a process that knows nothing of it
        "import pickle, sys; from clamp3.formats import symbolic; kind = pickle.loads(sys.stdin.buffer.read());"
        "print(kind.value, repr(symbolic.to_symbolic(b'd r m f', kind, name='a').text.split('\\n')[-2]))"
    )
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"]
    done = subprocess.run(command, input=pickle.dumps(kind), capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"solfa", b"'[V:1]CDEF|'"]


def test_kinds_are_one_object_each_and_unknown_ones_are_refused():
    for known in Kind.known.values():
        assert pickle.loads(pickle.dumps(known)) is known is Kind(known.value)
        assert known == known.value and hash(known) == hash(known.value) and type(known.value) is str
    with pytest.raises(ValueError, match="no kind of file"):
        Kind("video")
    with pytest.raises(ValueError, match="kind midi already"):
        register_kind("text", [".mid"])
