"""What the cache holds by kind, and its removal: only what is ours, by age, and never through a link."""

import io
import json
import os
import sqlite3
import time

import numpy as np
import pytest

from clamp3.commands import cache as command
from clamp3.commands import main
from clamp3.errors import ConfigError
from clamp3.jobs.cache import FILE_NAME, VectorCache
from clamp3.jobs.cached import KINDS, UNASKED, cached, clear

DAY = 86_400


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a cache with something of every kind, and things that are not ours, links out of it among them."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CLAMP3_CACHE", str(folder))
    for name in ("weights/saas.pth", "digests/ab", f"{FILE_NAME}.damaged-1", "notes.txt", "mine/a", "weights/run/b"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"1234")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("kept")
    (folder / "digests" / "file").symlink_to(tmp_path / "outside" / "precious")
    (folder / "digests" / "folder").symlink_to(tmp_path / "outside")
    (folder / f"{FILE_NAME}.damaged-2").symlink_to(tmp_path / "outside" / "precious")
    with VectorCache() as vectors:
        vectors.put_many({name: np.ones(3, np.float32) for name in "abc"})
    return folder


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_everything_has_a_kind(folder):
    found = cached()
    names = {kind: [path.relative_to(folder).as_posix() for path in kept.files] for kind, kept in found.items()}
    assert names["weights"] == ["weights/saas.pth"] and names["digests"] == ["digests/ab"]
    assert names["damaged"] == [f"{FILE_NAME}.damaged-1"] and FILE_NAME in names["vectors"]
    assert set(names["other"]) == {
        "notes.txt", "mine/a", "weights/run", "digests/file", "digests/folder", f"{FILE_NAME}.damaged-2"
    }  # fmt: skip
    assert found["vectors"].vectors == 3 and found["weights"].n_bytes == 4


def test_clearing_leaves_weights_what_is_not_ours_and_what_links_lead_to(folder, tmp_path):
    before = files(folder)
    assert clear() == {"vectors": 3, "damaged": 1, "digests": 1, "exports": 0}
    assert set(before) - set(files(folder)) == {f"{FILE_NAME}.damaged-1", "digests/ab"}
    assert cached()["vectors"].vectors == 0
    assert (tmp_path / "outside" / "precious").read_text() == "kept"
    assert clear(["weights"]) == {"weights": 1}
    assert "weights/run/b" in files(folder) and "weights/saas.pth" not in files(folder)


def test_a_folder_that_is_a_link_is_left(folder, tmp_path):
    (folder / "weights").rename(tmp_path / "elsewhere")
    (folder / "weights").symlink_to(tmp_path / "elsewhere")
    assert clear(KINDS)["weights"] == 0
    assert (tmp_path / "elsewhere" / "saas.pth").exists() and (folder / "weights").is_symlink()


def test_only_what_is_older_goes(folder):
    now = time.time()
    for name, days in ((f"{FILE_NAME}.damaged-1", 40), ("digests/ab", 2)):
        os.utime(folder / name, (now - days * DAY,) * 2)
    with sqlite3.connect(folder / FILE_NAME) as database:
        database.execute("UPDATE made SET day = day - 40 WHERE key = 'a'")
        database.execute("DELETE FROM made WHERE key = 'b'")  # as an older version stored it
    assert clear(older_than_days=30) == {"vectors": 2, "damaged": 1, "digests": 0, "exports": 0}
    with VectorCache() as vectors:
        assert set(vectors.get_many("abc")) == {"c"}


def test_a_cache_in_use_goes_on_and_the_file_becomes_small(folder):
    with VectorCache() as vectors:
        vectors.put_many({str(i): np.ones(1000, np.float32) for i in range(500)})
        clear()
        assert (folder / FILE_NAME).stat().st_size < 100_000
        vectors.put_many({"new": np.ones(3, np.float32)})
        assert set(vectors.get_many(["new", "a"])) == {"new"}


def test_an_empty_cache(tmp_path):
    assert clear(KINDS, folder=tmp_path / "absent") == dict.fromkeys(KINDS, 0)
    assert not (tmp_path / "absent").exists()


def test_the_command(folder, capsys, monkeypatch):
    assert tuple(KINDS) == command.KINDS and command.KINDS[:-1] == UNASKED
    assert main(["cache", "info"]) == 0
    assert "3 vectors" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--yes"):  # nobody is there to ask
        main(["cache", "clear"])
    with pytest.raises(ConfigError, match="--older_than"):
        main(["cache", "clear", "--older_than", "-1", "--yes"])
    for answer, left in (("\n", 3), ("", 3), ("y\n", 0)):
        terminal = io.StringIO(answer)
        terminal.isatty = lambda: True
        monkeypatch.setattr("sys.stdin", terminal)
        assert main(["cache", "clear", "--kind", "vectors"]) == 0
        capsys.readouterr()
        assert main(["cache", "info", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["folder"] == str(folder) and facts["kinds"]["vectors"]["vectors"] == left
    assert main(["cache", "clear", "--yes", "--older_than", "0"]) == 0
    assert "removed: 0 vectors, 1 files of damaged" in capsys.readouterr().out
