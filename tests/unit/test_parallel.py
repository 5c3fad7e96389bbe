"""The process map: whatever an item does, it alone fails, in every way of starting processes."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from clamp3.errors import Clamp3Error, ConfigError, FormatError, describe
from clamp3.jobs import parallel
from clamp3.jobs.parallel import process_map, start_method, usable_cores

METHODS = ["fork", "forkserver", "spawn"] if sys.platform == "linux" else ["spawn"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="enforced on Linux only")


def double(x: int) -> int:
    return 2 * x


def trouble(x: int) -> object:
    if x == 3:
        raise FormatError("not a score.")
    if x == 5:
        return {}["nokey"]
    if x == 7:
        os._exit(9)
    if x == 11:
        sys.exit(4)
    if x == 13:
        return lambda: None
    return 2 * x


def crash(x: int) -> int:
    if x == 2:
        faulthandler.disable()  # pytest's, which would print the stack
        os.kill(os.getpid(), signal.SIGSEGV)
    return x


def hang(x: int) -> int:
    if x == 4:
        while True:
            pass
    return x


def gorge(x: int) -> int:
    return len(bytearray(2**29)) if x == 2 else x


def fill_up(x: int, *, store: list = []) -> int:  # noqa: B006 - what one item leaves behind is the point
    store.append(bytearray(80 * 2**20))
    return x


def crash_if_not_first(x: int, *, seen: list = []) -> int:  # noqa: B006
    if seen and x == 6:
        os._exit(1)
    seen.append(x)
    return os.getpid()


def noisy(x: int) -> int:
    print("on stdout")
    os.write(1, b"on the descriptor")
    return x


def log_call(x: int, *, path: str) -> int:
    with open(path, "a") as stream:
        stream.write(f"{x}\n")
    if x == 30:
        os._exit(1)
    return x


def by_index(outcomes) -> dict[int, object]:
    listed = list(outcomes)
    found = {outcome.index: outcome for outcome in listed}
    assert len(found) == len(listed)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_every_item_comes_back_once(monkeypatch, method):
    monkeypatch.setattr(parallel, "start_method", lambda: method)
    found = by_index(process_map(double, range(500), n_workers=2))
    assert [found[i].value for i in range(500)] == [2 * i for i in range(500)]
    assert all(outcome.error is None and outcome.seconds >= 0 for outcome in found.values())


@pytest.mark.parametrize("method", METHODS)
def test_only_the_culprits_fail(monkeypatch, method):
    monkeypatch.setattr(parallel, "start_method", lambda: method)
    found = by_index(process_map(trouble, range(40), n_workers=2))
    errors = {index: outcome.error for index, outcome in found.items() if outcome.error}
    assert sorted(errors) == [3, 5, 7, 11, 13]
    assert errors[3] == "not a score."
    assert errors[5].startswith("KeyError: 'nokey' (test_parallel.py:")
    assert errors[7] == "the worker process ended by itself with exit code 9"
    assert errors[11].startswith("SystemExit: 4")
    assert errors[13].startswith("the result cannot be handed over")
    assert all(found[i].value == 2 * i for i in range(40) if i not in errors)


@posix
def test_a_crash_names_its_signal():
    found = by_index(process_map(crash, range(6), n_workers=1))
    assert {i for i in found if found[i].error} == {2}
    assert "SIGSEGV" in found[2].error


def test_a_hang_ends_at_the_time_limit_of_one_item():
    started = time.monotonic()
    found = by_index(process_map(hang, range(30), n_workers=2, timeout_sec=0.5))
    assert time.monotonic() - started < 30
    assert {i for i in found if found[i].error} == {4}
    assert found[4].error == "stopped after 0.5 s (the time limit)"
    assert 0.5 <= found[4].seconds < 10


def test_a_slow_consumer_does_not_make_items_late():
    outcomes = process_map(double, range(6), n_workers=2, timeout_sec=0.3)
    first = next(outcomes)
    time.sleep(0.8)
    assert sorted([first.index, *(outcome.index for outcome in outcomes if outcome.error is None)]) == list(range(6))


@linux
def test_memory_is_limited_per_worker():
    found = by_index(process_map(gorge, range(5), n_workers=1, memory_limit_mb=200))
    assert {i for i in found if found[i].error} == {2}
    assert found[2].error == "out of memory (limit 200 MB)"


@linux
def test_memory_left_behind_by_others_is_not_an_items_fault():
    found = by_index(process_map(fill_up, range(8), n_workers=1, memory_limit_mb=200))
    assert [found[i].error for i in range(8)] == [None] * 8


def test_a_crash_that_another_item_prepared_is_tried_again_alone():
    found = by_index(process_map(crash_if_not_first, range(10), n_workers=1))
    assert [found[i].error for i in range(10)] == [None] * 10
    assert found[6].value != found[5].value


def test_finished_items_are_not_repeated_after_a_crash(tmp_path):
    list(process_map(partial(log_call, path=str(tmp_path / "log")), range(60), n_workers=1))
    calls = [int(line) for line in (tmp_path / "log").read_text().split()]
    assert sorted(calls) == sorted([*range(60), 30])  # the culprit twice: in company and alone


def test_output_of_items_is_dropped(capfd):
    assert len(list(process_map(noisy, range(4)))) == 4
    assert capfd.readouterr().out == ""


def test_nothing_to_do_starts_nothing(monkeypatch):
    monkeypatch.setattr(parallel, "_Pool", None)
    assert list(process_map(double, [])) == []


def test_no_more_processes_than_items(monkeypatch):
    started = []
    start = parallel._Pool._start
    monkeypatch.setattr(parallel._Pool, "_start", lambda self: started.append(1) or start(self))
    assert len(list(process_map(double, [1, 2], n_workers=8))) == 2
    assert len(started) <= 2


def test_fewer_workers_when_the_system_allows_no_more(monkeypatch):
    start = parallel._Pool._start
    monkeypatch.setattr(
        parallel._Pool, "_start", lambda self: start(self) if not self.workers else raise_(Clamp3Error("no more"))
    )
    found = by_index(process_map(double, range(20), n_workers=4))
    assert [found[i].value for i in range(20)] == [2 * i for i in range(20)]
    monkeypatch.setattr(parallel._Pool, "_start", lambda self: raise_(Clamp3Error("none at all")))
    with pytest.raises(Clamp3Error, match="none at all"):
        list(process_map(double, [1]))


@pytest.mark.parametrize("method", METHODS)
def test_a_script_needs_no_guard_and_is_not_run_again(tmp_path, method):
    script = tmp_path / "five_lines.py"
    script.write_text(
        "import os.path\n"
        "from clamp3.jobs import parallel\n"
        f"parallel.start_method = lambda: {method!r}\n"
        "print('once')\n"
        "print(sorted(o.value for o in parallel.process_map(os.path.basename, ['a/b', 'c/d'], n_workers=2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("once\n['b', 'd']\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_functions_and_items_of_a_guarded_script_work(tmp_path, method):
    script = tmp_path / "guarded.py"
    script.write_text(
        "from clamp3.jobs import parallel\n"
        "class Item:\n    def __init__(self, x): self.x = x\n"
        "def get(item): return item.x\n"
        "if __name__ == '__main__':\n"
        f"    parallel.start_method = lambda: {method!r}\n"
        "    print([o.value for o in parallel.process_map(get, [Item(1), Item(2)], n_workers=1)])\n"
        "    print([o.value for o in parallel.process_map(id, [3, Item(2)], n_workers=1)] != [])\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[1, 2]\nTrue\n", "")


def raise_(error: Exception) -> None:
    raise error


def test_leaving_early_ends_the_workers():
    import multiprocessing

    before = set(multiprocessing.active_children())  # models of other tests keep a worker ready
    outcomes = process_map(os.path.basename, [f"x{i}" for i in range(1000)], n_workers=2)
    next(outcomes)
    assert set(multiprocessing.active_children()) - before
    outcomes.close()
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("bad", [{"n_workers": 0}, {"timeout_sec": 0}, {"timeout_sec": float("nan")}])
def test_senseless_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        list(process_map(double, [1], **bad))


def test_a_function_that_cannot_be_pickled_is_one_sentence(monkeypatch):
    monkeypatch.setattr(parallel, "start_method", lambda: "spawn")
    with pytest.raises(Clamp3Error, match="cannot be handed to a worker"):
        list(process_map(lambda x: x, [1]))


@linux
def test_workers_leave_when_the_parent_is_killed(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import os, sys, time\n"
        "from clamp3.jobs.parallel import process_map\n"
        "def slow(x):\n"
        "    open(os.path.join(sys.argv[1], str(os.getpid())), 'w').close(); time.sleep(0.3); return x\n"
        "if __name__ == '__main__':\n"
        "    for _ in process_map(slow, range(100), n_workers=2): pass\n"
    )
    pids = tmp_path / "pids"
    pids.mkdir()
    job = subprocess.Popen([sys.executable, str(script), str(pids)])
    deadline = time.monotonic() + 20
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    job.kill()
    job.wait()
    workers = [int(path.name) for path in pids.iterdir()]
    assert len(workers) == 2
    while any(running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(running(pid) for pid in workers)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@linux
def test_fork_only_where_nothing_else_runs(monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda path: ["1"])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert start_method() == "fork"
    monkeypatch.setitem(sys.modules, "torch", object())
    assert start_method() == "forkserver"
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(os, "listdir", lambda path: ["1", "2"])
    assert start_method() == "forkserver"


def test_describe():
    assert describe(FormatError("one sentence.")) == "one sentence."
    assert describe(OSError(28, "x")) == f"{os.strerror(28)} (ENOSPC)"
    assert describe(MemoryError()) == "out of memory"
    assert describe(ValueError("a\nb")) == "ValueError: a b"
    assert describe(RecursionError("x")) == "nested too deeply"


def test_usable_cores_is_positive():
    assert usable_cores() >= 1
