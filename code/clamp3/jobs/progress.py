"""One progress bar for long jobs: on stderr, only if that is a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(total: int, desc: str, *, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """Yield a function that moves the bar on by a number of files.

    Parameters
    ----------
    total : int
        Files altogether.
    desc : str
        Label.
    shown : bool
        False draws nothing, for instance on all processes but the first.
    """
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield lambda n: None
        return
    from tqdm import tqdm  # a tenth of a short job's time

    class Bar(tqdm):
        monitor_interval = 0  # its monitor is a thread, and workers are forked while the bar lives

    with Bar(total=total, desc=desc, file=sys.stderr, unit="file", dynamic_ncols=True) as bar:
        yield bar.update
