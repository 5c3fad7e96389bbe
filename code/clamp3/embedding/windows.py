"""How an input longer than its tower's window is cut into windows: the one plan of every modality.

Training takes one crop instead (`clamp3.training.crop`).

Source: CLaMP 3 (arXiv 2502.10362), feature extraction; the last window overlaps the one before it so
that it is full, but counts only for what it adds.
"""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """One window over the items of an input: ``start`` to ``stop`` (exclusive)."""

    start: int
    stop: int
    weight: int


def windows(n: int, limit: int) -> list[Window]:
    """Cut ``n`` items into consecutive windows of ``limit``, the last one moved back to be full.

    Parameters
    ----------
    n : int
        Number of items: tokens, patches (wrapping ones included) or audio vectors.
    limit : int
        Most items of a window.

    Returns
    -------
    list of Window
        Empty for ``n == 0``. ``weight`` is the share of a window in the weighted mean of the global
        vector: the number of items no earlier window has. The weights sum to ``n``. For temporal
        features keep the last ``weight`` items of each window.

    Raises
    ------
    ValueError
        If ``n`` is negative or ``limit`` is below 1.

    Examples
    --------
    >>> [tuple(w) for w in windows(10, 4)]
    [(0, 4, 4), (4, 8, 4), (6, 10, 2)]
    """
    if n < 0 or limit < 1:
        raise ValueError(f"windows need n >= 0 and limit >= 1, got n={n}, limit={limit}")
    plan = [Window(start, start + limit, limit) for start in range(0, n - limit + 1, limit)]
    if remainder := n % limit:
        plan.append(Window(max(0, n - limit), n, remainder))
    return plan
