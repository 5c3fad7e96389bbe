"""The ledger: rows come back, torn lines do not hurt, trouble is one sentence."""

from __future__ import annotations

import errno
import json
import os

import pytest

from clamp3.errors import Clamp3Error
from clamp3.jobs.ledger import Ledger, Row

ROW = Row("a.xml", "ok", output="a.abc", seconds=0.25, sha256="11", output_sha256="22", task="t", notes=("n",))


def test_rows_come_back(tmp_path):
    path = tmp_path / "sub" / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append(ROW)
        ledger.append(Row("b.xml", "failed", "bad"))
    again = Ledger(path)
    assert again.last("a.xml") == ROW
    assert again.last("b.xml") == Row("b.xml", "failed", "bad")
    assert again.last("c.xml") is None
    assert (len(again), again.torn) == (2, 0)


def test_the_last_row_of_an_input_counts_and_the_maker_of_an_output_stays(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        ledger.append(ROW)
        ledger.append(Row("a.xml", "failed", "later"))
    again = Ledger(tmp_path / "l")
    assert again.last("a.xml").reason == "later"
    assert again.maker("a.abc") == ROW
    assert again.maker("b.abc") is None


def test_what_was_begun_is_known_by_its_content_until_it_is_done(tmp_path):
    begun = Row("a.xml", "begun", output="a.abc", output_sha256="22")
    with Ledger(tmp_path / "l") as ledger:
        ledger.append(begun)
    with Ledger(tmp_path / "l") as again:
        assert (again.last("a.xml"), again.maker("a.abc"), len(again)) == (None, None, 0)
        assert (again.begun("a.abc", "22"), again.begun("a.abc", "23")) == (begun, None)
        again.append(ROW)
    assert Ledger(tmp_path / "l").begun("a.abc", "22") is None


def test_the_last_output_of_an_input(tmp_path):
    def begun(name):
        return Row("a", "begun", output=name)

    with Ledger(tmp_path / "l") as ledger:
        for row, output in (
            (begun("a1"), "a1"),
            (begun("a2"), "a1"),  # what stood for it before is not removed yet
            (Row("a", "ok", output="a2"), "a2"),
            (Row("a", "failed"), "a2"),
        ):
            ledger.append(row)
            assert (ledger.output("a"), ledger.output("b")) == (output, "")


def test_a_file_is_made_only_with_the_first_row(tmp_path):
    with Ledger(tmp_path / "sub" / "l"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_passed_over_and_the_next_row_starts_a_line(tmp_path, cut):
    path = tmp_path / "l"
    with Ledger(path) as ledger:
        ledger.append(Row("a.xml", "ok"))
        ledger.append(Row("b.xml", "ok"))
    path.write_bytes(path.read_bytes()[:-cut])
    with Ledger(path) as ledger:
        # Without its newline only, the row is whole.
        assert (ledger.last("b.xml") is None, ledger.torn) == ((True, 1) if cut > 1 else (False, 0))
        ledger.append(Row("c.xml", "ok"))
    again = Ledger(path)
    assert again.last("a.xml") and again.last("c.xml") == Row("c.xml", "ok")


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\x00garbage\n", b"[1, 2]\n", b'{"input": 3, "status": "ok"}\n', b"{}\n", b"\0" * 64]
)
def test_junk_lines_do_not_hide_good_ones(tmp_path, junk):
    good = json.dumps({"input": "a", "status": "ok", "notes": None, "of_a_later_version": 1}).encode() + b"\n"
    (tmp_path / "l").write_bytes(good + junk + b"\n" + good.replace(b'"a"', b'"b"'))
    ledger = Ledger(tmp_path / "l")
    assert (len(ledger), ledger.torn) == (2, 1)
    assert ledger.last("a") == Row("a", "ok")


def test_names_that_are_no_utf8_fit(tmp_path):
    name = os.fsdecode(b"caf\xe9\n'\".mid")
    with Ledger(tmp_path / "l") as ledger:
        ledger.append(Row(name, "failed", "why"))
    data = (tmp_path / "l").read_bytes()
    assert data.isascii() and data.count(b"\n") == 1
    assert Ledger(tmp_path / "l").last(name).reason == "why"


def test_a_ledger_that_is_a_folder_is_one_sentence(tmp_path):
    (tmp_path / "l").mkdir()
    with pytest.raises(Clamp3Error, match=r"the ledger .* cannot be read"):
        Ledger(tmp_path / "l")


def test_a_full_disk_is_one_sentence_that_says_how_to_go_on(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "l")
    ledger.append(ROW)

    def write(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(Clamp3Error, match=r"No space left on device.*run the same command again"):
        ledger.append(Row("b", "ok"))
    monkeypatch.undo()
    ledger.close()
    assert len(Ledger(tmp_path / "l")) == 1


def test_a_write_that_takes_part_is_finished(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
    with Ledger(tmp_path / "l") as ledger:
        ledger.append(ROW)
    assert Ledger(tmp_path / "l").last("a.xml") == ROW
