"""What one conversion may take: processor time and memory by the size of what it reads, and how much it may write.

Foreign converters read untrusted bytes in worker processes only (`clamp3.jobs.parallel`). There `within` stops one that
takes more than files of its size need, with room to spare: the time limit of the pool is for the longest of all files.
Time is the processor's, so that a busy machine refuses nothing that an idle one takes.
"""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from clamp3.errors import FormatError
from clamp3.formats import Converted, Kind
from clamp3.formats.guards import MIB, unpacked_size

Value = TypeVar("Value")
_LEAST_SEC = 2.5  # importing music21 takes one
_BYTES_PER_SEC = 20_000  # a tenth of what the slowest scores of this kind are converted at
_NOTATION_BYTES_PER_SEC = 4_000  # a third of what music21 reads
_LEAST_MB = 384
_MB_PER_MIB = 40.0
_MOST_TIMES, _MOST_BYTES = 100, 16 * MIB


@dataclass(frozen=True)
class Allowance:
    """What one conversion may take."""

    seconds: float
    memory_mb: int


class _OutOfTimeError(BaseException):
    """Raised in the middle of a conversion; no ``except Exception`` of a converter holds it up."""


class OutOfMemoryError(MemoryError):
    """A conversion passed its allowance; the worker should leave, as after any lack of memory."""


def allowance(data: bytes, kind: Kind | None) -> Allowance:
    """Return what the conversion of a file may take, by its unpacked size.

    Parameters
    ----------
    data : bytes
        Content of the file.
    kind : Kind or None
        What it holds.

    Examples
    --------
    >>> allowance(b"x" * 100_000, Kind.MUSICXML)
    Allowance(seconds=7.5, memory_mb=387)
    """
    size = unpacked_size(data)
    rate = _NOTATION_BYTES_PER_SEC if kind == Kind.SCORE else _BYTES_PER_SEC
    return Allowance(_LEAST_SEC + size / rate, _LEAST_MB + int(size / MIB * _MB_PER_MIB))


def within(allowed: Allowance, call: Callable[[], Value]) -> Value:
    """Return what a call returns, or stop it; for the main thread of a worker process.

    Parameters
    ----------
    allowed : Allowance
        A call that does not come back from C within half as much time again ends the process.
    call : callable
        Without arguments.

    Raises
    ------
    FormatError
        If it takes too much time.
    OutOfMemoryError
        If it takes too much memory; on Linux only.
    """
    if not hasattr(signal, "setitimer"):
        return call()
    raised = _lower_memory(allowed.memory_mb)
    try:
        signal.signal(signal.SIGPROF, _stop)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, 1.5 * allowed.seconds)
            signal.setitimer(signal.ITIMER_PROF, allowed.seconds, 0.2)
            return call()
        finally:
            _set_timers_off()
    except _OutOfTimeError:
        _set_timers_off()
        raise FormatError(
            f"the conversion takes over {allowed.seconds:.0f} s of processor time, the limit for a file of its size."
        ) from None
    except MemoryError:
        raise OutOfMemoryError(
            f"the conversion takes over {allowed.memory_mb} MB of memory, the limit for a file of its size."
        ) from None
    finally:
        raised()


def convert_within(job: tuple[Callable[..., Converted], bytes, Kind, str]) -> Converted:
    """Return what a conversion makes of (conversion, content, kind, name) within its allowance; runs in a worker."""
    convert, data, kind, name = job
    made = within(allowance(data, kind), functools.partial(convert, data, kind, name=name))
    check_output(len(made.text), unpacked_size(data))
    return made


def check_output(n_bytes: int, size: int) -> None:
    """Refuse a conversion that writes far more than it reads.

    Parameters
    ----------
    n_bytes : int
        Of the output.
    size : int
        Unpacked bytes of the input.

    Raises
    ------
    FormatError
        If the output has over 16 MiB and over 100 times the size of the input.
    """
    if n_bytes > _MOST_BYTES and n_bytes > _MOST_TIMES * size:
        raise FormatError(f"{size} bytes would become {n_bytes}, over {_MOST_TIMES} times as many and over 16 MiB.")


def _stop(_signal: int, _frame: object) -> None:
    raise _OutOfTimeError


def _set_timers_off() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0.0)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)


def _lower_memory(limit_mb: int) -> Callable[[], None]:
    """Let this process take so much more memory; return what undoes it."""
    if sys.platform != "linux":
        return lambda: None
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    wanted = address_space() + limit_mb * 2**20
    soft = wanted if before[0] == resource.RLIM_INFINITY else min(wanted, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, before)


def address_space() -> int:
    """Return how many bytes of address space this process has; Linux only."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()
