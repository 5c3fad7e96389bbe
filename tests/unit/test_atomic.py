"""Atomic writes: whole or absent, no leftovers, ordinary permissions."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clamp3.jobs import atomic
from clamp3.jobs.atomic import replacing, sweep, write_bytes, write_text


def listing(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_error_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as caught:
        write_bytes(tmp_path / "out.npy", b"x")
    assert caught.value.filename == str(tmp_path / "out.npy")


@pytest.mark.parametrize("durable", [True, False])
def test_write_makes_folders_and_replaces(tmp_path, durable):
    path = tmp_path / "a" / "b" / "out.abc"
    write_bytes(path, b"one", durable=durable)
    write_bytes(path, b"two", durable=durable)
    assert path.read_bytes() == b"two"
    assert listing(path.parent) == ["out.abc"]


def test_text_is_utf8_and_line_ends_stay(tmp_path):
    write_text(tmp_path / "t", "é\r\n月\n")
    assert (tmp_path / "t").read_bytes() == b"\xc3\xa9\r\n\xe6\x9c\x88\n"


def test_an_error_in_the_block_keeps_the_old_content(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), replacing(path) as part:
        part.write_bytes(b"half")
        raise KeyError("stop")
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["out"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def replace(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(tmp_path / "out", b"x" * 1000)
    assert listing(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE")
def test_a_file_size_limit_leaves_nothing(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from clamp3.jobs.atomic import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(Path(sys.argv[1]), b'x' * 5000)\n"
        "except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(errno.EFBIG)
    assert listing(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_the_umask_applies(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "out", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


def test_the_longest_name_fits(tmp_path):
    write_bytes(tmp_path / ("n" * 255), b"x")
    assert listing(tmp_path) == ["n" * 255]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_kill_in_the_middle_leaves_only_a_part_that_sweep_removes(tmp_path):
    code = (
        "import sys, os, signal; from pathlib import Path; from clamp3.jobs.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as part:\n"
        "    part.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out.abc")], check=False)
    assert done.returncode == -signal.SIGKILL
    left = listing(tmp_path)
    assert len(left) == 1
    assert left[0].startswith(".clamp3-") and left[0].endswith(".part")
    assert sweep([tmp_path, tmp_path / "absent"]) == 1
    assert listing(tmp_path) == []


def test_what_a_killed_writer_left_goes_with_the_next_file_of_the_folder(tmp_path):
    """As of probes, reports and manifests, which have no folder of their own."""
    code = "import os, sys; from pathlib import Path; from clamp3.jobs.atomic import replacing\n"
    code += "with replacing(Path(sys.argv[1])) as part: part.write_bytes(b'half'); os.kill(os.getpid(), 9)\n"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "probe.pth")], check=False)
    assert len(listing(tmp_path)) == 1
    write_bytes(tmp_path / "probe.pth", b"whole")
    assert listing(tmp_path) == ["probe.pth"]


def test_sweep_spares_the_living_other_machines_and_strangers(tmp_path):
    mine = f".clamp3-{atomic._host()}-{os.getpid()}-{atomic._STARTED}.part"
    keep = [mine, ".clamp3-ffffffff-1-0.part", ".clamp3-odd.part", "a.abc"]
    for name in keep:
        (tmp_path / name).write_bytes(b"x")
    assert sweep([tmp_path]) == 0
    assert listing(tmp_path) == sorted(keep)


def test_a_killed_process_with_our_host_and_pid_is_no_obstacle_and_is_swept(tmp_path):
    """As in a container that is started again."""
    code = (
        "import os, sys; from pathlib import Path; from clamp3.jobs import atomic\n"
        "folder = Path(sys.argv[1])\n"
        "for n in range(3): (folder / f'.clamp3-{atomic._host()}-{os.getpid()}-{n}.part').write_bytes(b'half')\n"
        "atomic.write_bytes(folder / 'out', b'x', durable=False)\n"
        "with atomic.replacing(folder / 'two') as part: print(atomic.sweep([folder]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"
    assert listing(tmp_path) == ["out", "two"]
