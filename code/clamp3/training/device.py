"""The devices of a run: accelerator, precision, optimizer, compilation, dropout; each chosen once, here."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clamp3.errors import ConfigError
from clamp3.models.device import set_cuda
from clamp3.training.config import RunConfig
from clamp3.training.task import RatedTask, SteadyTask, Task

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(config: RunConfig) -> Accelerator:
    """Return the accelerator of this process: CUDA or MPS if there is one, else CPU; alone or one of many.

    Raises
    ------
    ConfigError
        If fp16 is asked for on a CPU.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if config.mixed_precision == "fp16" and not cuda:
        raise ConfigError("--mixed_precision fp16 needs a CUDA device; use bf16 or no on a CPU.")
    patience = InitProcessGroupKwargs(timeout=timedelta(minutes=config.wait_minutes))
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True, gradient_as_bucket_view=True), patience]
    if cuda:
        set_cuda(tf32=config.tf32)
    return Accelerator(cpu=not (cuda or mps), mixed_precision=precision(config), kwargs_handlers=handlers)


def precision(config: RunConfig) -> str:
    """Return ``no``, ``bf16`` or ``fp16``; automatically bf16 on CUDA devices that have it, else fp16, else no."""
    if config.mixed_precision != "auto":
        return config.mixed_precision
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def prepared(accelerator: Accelerator, task: Task) -> nn.Module:
    """Return the module as the ranks train it together.

    Looking after every step for what had no part in it costs a walk over the whole graph. A task whose steps all give
    the same parameters a gradient says which never get one: poolers and one-row word tables, which are there because
    the published checkpoints have them.

    Parameters
    ----------
    accelerator : Accelerator
    task : Task
    """
    idle = task.idle_parameters() if isinstance(task, SteadyTask) else None
    if idle is None or accelerator.num_processes == 1:
        return accelerator.prepare_model(task.module)
    assert accelerator.ddp_handler is not None
    accelerator.ddp_handler.find_unused_parameters = False
    for parameter in idle:
        parameter.requires_grad_(False)
    wrapped = accelerator.prepare_model(task.module)
    for parameter in idle:  # so that the optimizer counts parameters as in checkpoints of one process
        parameter.requires_grad_(True)
    return wrapped


def make_optimizer(task: Task, config: RunConfig) -> torch.optim.AdamW:
    """Return AdamW, as one fused kernel where torch has it (CPU, CUDA and MPS).

    Parameters
    ----------
    task : Task
        Its trained parameters are one group; of a `RatedTask` those of one rate, a multiple of the run's, which the
        group has as ``factor``. Numbers without dimensions, such as a learned scale, are never decayed.
    config : RunConfig
        ``learning_rate``, ``weight_decay`` and ``decay_norms`` are used.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in task.module.named_parameters():
        if parameter.requires_grad:
            factor = task.rate_factor(name) if isinstance(task, RatedTask) else 1.0
            # Never of what a loss learns: scale and bias.
            decay = config.weight_decay if parameter.ndim >= (1 if config.decay_norms else 2) else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    fused = all(p.device.type in ("cpu", "cuda", "mps") for group in groups.values() for p in group)
    rated = [{"params": group, "factor": factor, "weight_decay": decay} for (factor, decay), group in groups.items()]
    return torch.optim.AdamW(rated, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def recompute_layers(module: nn.Module) -> None:
    """Let every transformer layer keep only its input for the backward pass (activation checkpointing).

    Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174. Dropout is drawn alike both times.
    """
    from clamp3.models.bert import Encoder

    for part in module.modules():
        if isinstance(part, Encoder):
            part.recompute = True


def compile_layers(module: nn.Module) -> int:
    """Compile every transformer layer in place, for any length; return how many.

    One layer at a time: all layers of a tower share one compilation, which takes seconds where a whole tower takes
    minutes, and names of parameters stay what they are.
    """
    from clamp3.models.bert import Bert

    layers = [layer for tower in module.modules() if isinstance(tower, Bert) for layer in tower.encoder.layer]
    for layer in layers:
        layer.compile(dynamic=True)
    return len(layers)


class QuickDropout(nn.Dropout):
    """Dropout for CPUs: four decisions from every random word, a third of the time of torch's; p to 1/65,536."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``hidden``, of any shape, with elements dropped and the others scaled up, in training mode."""
        if not self.training or self.p == 0:
            return hidden
        words = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = words.view(torch.int16)[: hidden.numel()].view(hidden.shape)
        keep = draws >= round(self.p * 2**16) - 2**15
        return hidden * keep.to(hidden.dtype).mul_(1 / (1 - self.p))


def quick_dropout(module: nn.Module) -> None:
    """Put `QuickDropout` in the place of every plain dropout."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout and child.p < 1:
                setattr(parent, name, QuickDropout(child.p))
