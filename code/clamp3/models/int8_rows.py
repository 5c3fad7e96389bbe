"""Matrices stored with 8 bits a number: NAME.int8, NAME.scale (of each row), and NAME.lift where rows were narrower.

Of V x W numbers the file holds ``int8`` (V, W) and ``scale`` (V,); with ``lift`` (E, W), the matrix is (V, E): every
row is a narrow one times the transposed lift, as in a word table whose vectors are widened by one linear layer. Readers
see the matrix under NAME, in float32. The rounding error of a number is at most 1/254 of the largest in its row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

INT8, SCALE, LIFT = ".int8", ".scale", ".lift"
MAX_INT8 = 127


def whole_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the matrices in a file, those of 8 bits under their own names.

    Examples
    --------
    >>> whole_shapes({"a.int8": (9, 4), "a.scale": (9,), "a.lift": (6, 4), "b": (2,)})
    {'b': (2,), 'a': (9, 6)}
    """
    packed = [name.removesuffix(INT8) for name in shapes if name.endswith(INT8) and shape_fits(name, shapes)]
    parts = {name + part for name in packed for part in (INT8, SCALE, LIFT)}
    found = {name: shape for name, shape in shapes.items() if name not in parts}
    for name in packed:
        n_rows, width = shapes[name + INT8]
        found[name] = (n_rows, shapes.get(name + LIFT, (width,))[0])
    return found


def shape_fits(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether a NAME.int8 has a scale for each row, and a lift of its width if any.

    Parameters
    ----------
    name : str
        Ends with ``.int8``.
    shapes : mapping of str to tuple of int
    """
    shape, base = shapes[name], name.removesuffix(INT8)
    lift = shapes.get(base + LIFT)
    return len(shape) == 2 and shapes.get(base + SCALE) == shape[:1] and (lift is None or lift[1:] == shape[1:])


def unpack(name: str, get: Callable[[str], Tensor], *, lifted: bool) -> Tensor:
    """Return a matrix in float32.

    Parameters
    ----------
    name : str
        Of the matrix.
    get : callable
        Returns what the file holds under a name.
    lifted : bool
        Whether there is a lift.
    """
    rows = get(name + INT8).float() * get(name + SCALE).float()[:, None]
    return rows @ get(name + LIFT).float().T if lifted else rows


def pack(name: str, matrix: Tensor, lift: Tensor | None = None) -> dict[str, Tensor]:
    """Return what a file holds of a matrix.

    Parameters
    ----------
    name : str
    matrix : Tensor, shape (V, W)
    lift : Tensor, shape (E, W), optional
        What makes the stored rows as wide as the model's.
    """
    import torch

    scale = (matrix.float().abs().amax(dim=1) / MAX_INT8).clamp(min=1e-7)
    rows = (matrix.float() / scale[:, None]).round().clamp(-MAX_INT8, MAX_INT8).to(torch.int8)
    found = {name + INT8: rows.contiguous(), name + SCALE: scale}
    return found if lift is None else {**found, name + LIFT: lift.detach().to(torch.float16).contiguous()}
