"""One progress bar for long jobs: on stderr, if that is a terminal or someone asks for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(
    total: int | None, desc: str, *, shown: bool = True, asked: bool = False
) -> Iterator[Callable[[int], object]]:
    """Yield a function that moves the bar on by a number of files.

    Parameters
    ----------
    total : int or None
        Files altogether, if that is known.
    desc : str
        Label.
    shown : bool
        False draws nothing, for instance on all processes but the first.
    asked : bool
        Whoever calls asked for a bar: it is drawn where stderr is no terminal too, in a notebook as notebooks do.
    """
    if not shown or sys.stderr is None or not (asked or sys.stderr.isatty()):
        yield lambda n: None
        return
    if asked:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm  # a tenth of a short job's time

    class Bar(tqdm):
        monitor_interval = 0  # its monitor is a thread, and workers are forked while the bar lives

    with Bar(total=total, desc=desc, file=sys.stderr, unit="file", dynamic_ncols=True) as bar:
        yield bar.update
