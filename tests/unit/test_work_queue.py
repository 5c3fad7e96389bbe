"""Sharing a list of work: every number once, small pieces last, one summary for all."""

import threading

import pytest

from clamp3.jobs.work_queue import SingleProcess, StoreWorkQueue, work_queue_from_environment


def run_ranks(size, body):
    """Run ``body(queue)`` on threads that share an in-memory store; return the results by rank."""
    from torch.distributed import HashStore

    store = HashStore()
    results = [None] * size
    barrier = threading.Barrier(size)

    def target(rank):
        barrier.wait()
        results[rank] = body(StoreWorkQueue(store, rank, size))

    threads = [threading.Thread(target=target, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return results


@pytest.mark.parametrize("total", [0, 1, 7, 1000, 5000])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_number_is_claimed_once(total, size):
    pieces = [piece for part in run_ranks(size, lambda queue: list(queue.claim(total))) for piece in part]
    assert sorted(number for piece in pieces for number in piece) == list(range(total))
    assert all(len(piece) <= 256 for piece in pieces)


def test_the_last_pieces_are_small_so_that_nobody_works_alone_for_long():
    from torch.distributed import HashStore

    store = HashStore()
    slow, quick = (StoreWorkQueue(store, rank, 2).claim(3000) for rank in range(2))
    first = next(slow)  # then the slow one works, and the quick one takes the rest but the last
    pieces = [first, *(next(quick) for _ in range(24))]
    pieces += [*slow, *quick]
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    assert len(first) == 256 and len(pieces[-1]) == 1
    assert [len(piece) for piece in pieces] == sorted((len(piece) for piece in pieces), reverse=True)


def test_two_lists_in_a_row_do_not_mix():
    def body(queue):
        return [sum(len(piece) for piece in queue.claim(100)), sum(len(piece) for piece in queue.claim(40))]

    counts = run_ranks(3, body)
    assert [sum(part[i] for part in counts) for i in range(2)] == [100, 40]


def test_rank_0_decides_and_all_see_all():
    def body(queue):
        decided = queue.agree({"list": [["ä\udcff", 1]]} if queue.rank == 0 else None)
        return decided, queue.gather(queue.rank * 10)

    assert run_ranks(3, body) == [({"list": [["ä\udcff", 1]]}, [0, 10, 20])] * 3


def test_a_list_of_many_files_passes_the_store_s_limit_of_a_message():
    """torch's server closes the connection on a message above 8 MiB."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, world_size=1, is_master=True, wait_for_workers=False)
    listed = [[f"artist_{i:07d}/{'x' * 80}.mid", "ä"] for i in range(90_000)]
    queue, other = StoreWorkQueue(store, 0, 1), StoreWorkQueue(store, 1, 2)
    assert queue.agree(listed) == listed == other.agree(None)
    assert queue.gather(listed) == [listed]


def test_alone():
    queue = SingleProcess()
    assert [number for piece in queue.claim(1300) for number in piece] == list(range(1300))
    assert queue.agree([1]) == [1] and queue.gather(2) == [2]


def test_without_a_launcher_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert isinstance(work_queue_from_environment(), SingleProcess)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert isinstance(work_queue_from_environment(), SingleProcess)
