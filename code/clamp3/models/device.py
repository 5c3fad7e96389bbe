"""The device models run on, and how this process keeps memory for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from clamp3.errors import ConfigError

if TYPE_CHECKING:
    import torch


def pick_device(name: str | None) -> torch.device:
    """Return the device of a name, or the GPU of this process if there is one, else the CPU.

    Raises
    ------
    ConfigError
        If torch cannot use the device that is named.
    """
    import torch

    if name is None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}).") from None
    if device.type == "cuda":
        set_cuda()
    return device


def set_cuda(*, tf32: bool = False) -> None:
    """Set torch's switches for CUDA in this process.

    cuDNN's attention is left out: it makes a plan for every new shape of a batch, 0.14 s each on an H100 where a whole
    step takes 0.37 s, and nearly every batch of music has a shape of its own (``benchmarks/gpu.py``).

    Parameters
    ----------
    tf32 : bool
        Let matrices and convolutions of float32 lose the last 13 bits, as torch lets convolutions by itself.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def keep_heap() -> None:
    """Let this process keep the memory of freed tensors for the next layer instead of returning it to the system.

    With glibc's defaults every large tensor is mapped anew and its pages cleared, which costs up to a third of the time
    of a network with wide layers on a CPU. Elsewhere nothing happens.
    """
    import ctypes

    try:
        set_option = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for option, value in ((-3, 1 << 30), (-1, 1 << 30), (-2, 1 << 26)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
        set_option(option, value)
