"""The one training loop, on accelerate: one process, ``accelerate launch`` or ``torchrun``.

Order: seed → model → freeze → wrap → optimizer → resume → loop. The learning rate is a pure function
of the step, so there is no scheduler state that could be lost or bound to the wrong optimizer.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from clamp3.errors import ConfigError
from clamp3.training import checkpoint
from clamp3.training.checkpoint import Progress
from clamp3.training.config import RunConfig, to_plain

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=RunConfig)


class Task(Protocol):
    """What the loop needs to know about a model and its data."""

    module: nn.Module
    train_data: Dataset[Any]

    def collate(self, items: Sequence[Any]) -> dict[str, Tensor]:
        """Return one batch of items of ``train_data``."""
        ...

    def batches(self, epoch: int, rank: int, world_size: int) -> list[list[int]]:
        """Return this rank's batches of an epoch, as item indices; equally many on every rank."""
        ...

    def loss(self, wrapped: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to differentiate, and measures to log.

        Averaged over ranks, loss and gradients must be those of the global batch in one process.
        """
        ...

    def train(self) -> None:
        """Put the module in training mode; frozen parts stay in evaluation mode."""
        ...

    def evaluate(self, wrapped: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        """Return measures of the evaluation set, ``loss`` among them; equal on every rank, empty without data."""
        ...

    def export(self, path: Path, info: dict[str, Any]) -> None:
        """Write the weights of the module as a model that can be loaded by name or path."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``reason`` is "done", "time", "steps" or "stopped" (SIGTERM)."""

    progress: Progress
    reason: str
    main: bool = True

    def summary(self, out: Path) -> str:
        """Return what to tell the user, in one line."""
        why = {"done": "finished", "time": "stopped at the time limit", "steps": "stopped at the step limit",
               "stopped": "stopped on request; --resume auto goes on"}[self.reason]  # fmt: skip
        progress = self.progress
        best = (
            f"; best evaluation loss {progress.best_loss:.4f} (epoch {progress.best_epoch})"
            if progress.best_loss < float("inf")
            else ""
        )
        return f"{why} after {progress.step} steps, {progress.minutes:.1f} minutes{best}; see {out}"


def learning_rate_at(step: int, config: RunConfig, *, total_steps: int, time_share: float = 0.0) -> float:
    """Return the rate of optimizer step ``step`` (from 0).

    Parameters
    ----------
    step : int
    config : RunConfig
        ``learning_rate``, ``warmup_steps`` and ``schedule`` are used.
    total_steps : int
        Steps of the whole run.
    time_share : float
        Share of ``--max_minutes`` that is spent; the cosine ends at whichever limit comes first.

    Returns
    -------
    float
        Linear warm-up from 0 (step 0 has rate 0, as transformers' schedule), then constant or a half cosine to 0.
    """
    if step < config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    share = min(1.0, max(done, time_share))
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def make_accelerator(config: RunConfig) -> Accelerator:
    """Return the accelerator of this process: CUDA if there is one, else CPU (also with several processes).

    Raises
    ------
    ConfigError
        If fp16 is asked for on a CPU.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    cuda = torch.cuda.is_available()
    precision = config.mixed_precision
    if precision == "auto":
        precision = "fp16" if cuda else "no"
    if precision == "fp16" and not cuda:
        raise ConfigError("--mixed_precision fp16 needs a CUDA device; use bf16 or no on a CPU.")
    # Some parameters of the published names (poolers, one-row word tables) take no part in the loss.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=not cuda, mixed_precision=precision, kwargs_handlers=[unused])


def seed_everything(seed: int) -> None:
    """Seed torch, equally on all ranks, for the weights; the loop seeds dropout per rank afterwards."""
    torch.manual_seed(seed)


@contextmanager
def _stop_on_sigterm() -> Iterator[list[bool]]:
    """Yield a list that becomes non-empty when the process is asked to end."""
    asked: list[bool] = []
    try:
        previous = signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    except ValueError:  # not in the main thread: nothing to catch there
        yield asked
        return
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Keys:
    """Batch sampler that yields (epoch, item) keys, starting behind the batches already done."""

    def __init__(self, batches: list[list[int]], epoch: int, skip: int) -> None:
        self.keys = [[(epoch, index) for index in batch] for batch in batches[skip:]]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


class _Metrics:
    """Rows to metrics.jsonl, and to Weights & Biases if asked; silent on all ranks but the first."""

    def __init__(self, config: RunConfig, main: bool) -> None:
        self.path = config.out / checkpoint.METRICS if main else None
        self.wandb = None
        if main and config.wandb:
            try:
                import wandb
            except ImportError as error:
                raise ConfigError("--wandb needs the wandb package: pip install 'clamp3[logs]'.") from error
            self.wandb = wandb.init(project="clamp3", name=config.out.name, config=to_plain(config))

    def write(self, **row: Any) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if self.wandb is not None:
            self.wandb.log(
                {f"{row['kind']}/{name}": value for name, value in row.items() if name != "kind"}, step=row["step"]
            )

    def close(self) -> None:
        if self.wandb is not None:
            self.wandb.finish()


class Trainer:
    """One run: see `fit`."""

    def __init__(self, task: Task, config: RunConfig, accelerator: Accelerator) -> None:
        self.task, self.config, self.accelerator = task, config, accelerator
        self.rank, self.world_size = accelerator.process_index, accelerator.num_processes
        self.progress = Progress()
        self.revision = checkpoint.git_revision() if accelerator.is_main_process else None
        n_batches = [len(task.batches(0, self.rank, self.world_size))]
        if not n_batches[0]:
            raise ConfigError(
                f"Too few training items for {self.world_size} processes; every process needs at least one."
            )
        self.total_steps = config.epochs * n_batches[0]
        if config.max_steps:
            self.total_steps = min(self.total_steps, config.max_steps)

        resume = checkpoint.find_resume(config.resume, config.out)
        config.out.mkdir(parents=True, exist_ok=True)
        self.wrapped = accelerator.prepare_model(task.module)
        trainable = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trainable, lr=config.learning_rate, weight_decay=config.weight_decay)
        torch.manual_seed(config.seed + self.rank)
        if resume is not None:
            self._restore(resume)
        elif accelerator.is_main_process:
            checkpoint.truncate_metrics(config.out / checkpoint.METRICS, -1)
        self.metrics = _Metrics(config, accelerator.is_main_process)

    def _restore(self, path: Path) -> None:
        state = checkpoint.load(path)
        checkpoint.check_same_run(state["config"], to_plain(self.config))
        self.task.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        if len(state["rng"]) == self.world_size:
            checkpoint.set_rng_state(state["rng"][self.rank])
        else:
            logger.warning(
                "resumed with %d processes instead of %d: dropout differs from the first run",
                self.world_size,
                len(state["rng"]),
            )
        if self.accelerator.is_main_process:
            checkpoint.truncate_metrics(self.config.out / checkpoint.METRICS, self.progress.step)
            logger.info("resumed %s at step %d", path, self.progress.step)

    def save(self) -> None:
        """Write ``last.pt``; every rank must call it."""
        from accelerate.utils import gather_object

        rng = gather_object([checkpoint.rng_state()])
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            checkpoint.save(
                self.config.out / checkpoint.LAST,
                model=self.task.module.state_dict(),
                optimizer=self.optimizer.state_dict(),
                scaler=None if scaler is None else scaler.state_dict(),
                rng=rng,
                progress=self.progress,
                config=to_plain(self.config),
                revision=self.revision,
            )
        self.accelerator.wait_for_everyone()

    def _export(self, name: str, measures: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            info = {"training": to_plain(self.config), "git": self.revision, "epoch": self.progress.epoch + 1,
                    "step": self.progress.step, "evaluation": measures}  # fmt: skip
            self.task.export(self.config.out / name, info)

    def step(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Do one optimizer step on a batch that lies on the device; return its loss and measures."""
        loss, measures = self.task.loss(self.wrapped, batch)
        scaler = self.accelerator.scaler
        (loss if scaler is None else scaler.scale(loss)).backward()
        logged = (self.progress.step + 1) % self.config.log_every == 0
        if self.config.max_grad_norm or logged:
            if scaler is not None:
                scaler.unscale_(self.optimizer)
            gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            if self.config.max_grad_norm:
                parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
                torch.nn.utils.clip_grads_with_norm_(parameters, self.config.max_grad_norm, norm)
            if logged:
                measures = {**measures, "grad_norm": norm}
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        return loss.detach(), measures

    def _should_stop(self, asked: bool, minutes: float) -> str:
        """Return why to stop now, or ""; the same on every rank."""
        late = self.config.max_minutes > 0 and minutes >= self.config.max_minutes
        if self.world_size > 1:
            flags = torch.tensor([asked, late], dtype=torch.int32, device=self.accelerator.device)
            torch.distributed.all_reduce(flags)
            asked, late = (bool(flag) for flag in flags.tolist())
        if asked:
            return "stopped"
        if late:
            return "time"
        return "steps" if self.config.max_steps and self.progress.step >= self.config.max_steps else ""

    def fit(self) -> Outcome:
        """Train to the end, the time limit, or SIGTERM; evaluate after every epoch and at the end.

        Returns
        -------
        Outcome
            After SIGTERM the last checkpoint is written without evaluating first.
        """
        reason = ""
        with _stop_on_sigterm() as asked:
            # A run that was resumed after its limit has nothing left to do.
            reason = self._should_stop(False, self.progress.minutes)
            while not reason and self.progress.epoch < self.config.epochs:
                reason = self._epoch(asked)
                if reason == "stopped":
                    break
                self._end_epoch(complete=not reason)
            self.save()
        self.metrics.close()
        return Outcome(self.progress, reason or "done", self.accelerator.is_main_process)

    def _loader(self) -> DataLoader[Any]:
        batches = self.task.batches(self.progress.epoch, self.rank, self.world_size)
        keys = _Keys(batches, self.progress.epoch, self.progress.batch)
        return DataLoader(
            self.task.train_data,
            batch_sampler=keys,
            collate_fn=self.task.collate,
            num_workers=self.config.workers,
            pin_memory=self.accelerator.device.type == "cuda",
            generator=torch.Generator(),  # so that the loader draws nothing from the generator of dropout
        )

    def _epoch(self, asked: list[bool]) -> str:
        """Run the rest of the current epoch; return why it ended early, or ""."""
        from tqdm import tqdm

        progress, config = self.progress, self.config
        self.task.train()
        loader = self._loader()
        begin = mark = time.monotonic()
        spent, items, saved = progress.minutes, 0, begin
        bar = tqdm(
            loader,
            desc=f"epoch {progress.epoch + 1}",
            disable=not self.accelerator.is_main_process,
            leave=False,
            mininterval=2,
        )
        for batch in bar:
            batch = {name: value.to(self.accelerator.device, non_blocking=True) for name, value in batch.items()}
            share = progress.minutes / config.max_minutes if config.max_minutes else 0.0
            rate = learning_rate_at(progress.step, config, total_steps=self.total_steps, time_share=share)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss, measures = self.step(batch)
            progress.batch += 1
            items += len(next(iter(batch.values()))) * self.world_size
            now = time.monotonic()
            progress.minutes = spent + (now - begin) / 60
            if progress.step % config.log_every == 0:
                value = float(self.accelerator.reduce(loss, "mean"))
                checkpoint.require_finite(value, progress.step)
                progress.loss_sum, progress.loss_count = progress.loss_sum + value, progress.loss_count + 1
                row = {
                    "loss": value,
                    "lr": rate,
                    "items_per_sec": round(items / (now - mark), 2),
                    "minutes": round(progress.minutes, 3),
                }
                self.metrics.write(
                    kind="train",
                    step=progress.step,
                    epoch=progress.epoch + 1,
                    **row,
                    **{name: round(float(part), 6) for name, part in measures.items()},
                )
                bar.set_postfix(loss=f"{value:.4f}", lr=f"{rate:.1e}", refresh=False)
                mark, items = now, 0
            if reason := self._should_stop(bool(asked), progress.minutes):
                return reason
            if config.save_minutes and now - saved > 60 * config.save_minutes and self.world_size == 1:
                self.save()
                saved = time.monotonic()
        return ""

    def _end_epoch(self, *, complete: bool) -> None:
        """Evaluate, keep the best, write the checkpoint; then turn to the next epoch if this one is complete."""
        progress, config = self.progress, self.config
        progress_epoch = progress.epoch + 1
        begin = time.monotonic()
        measures = self.task.evaluate(self.wrapped, self.accelerator)
        progress.minutes += (time.monotonic() - begin) / 60
        train_loss = progress.loss_sum / progress.loss_count if progress.loss_count else float("nan")
        row: dict[str, Any] = {f"eval_{name}": value for name, value in measures.items()}
        if progress.loss_count:
            row["train_loss"] = train_loss
        self.metrics.write(
            kind="epoch", step=progress.step, epoch=progress_epoch, minutes=round(progress.minutes, 3), **row
        )
        if self.accelerator.is_main_process:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
            logger.info("epoch %d, step %d, %.1f min: %s", progress_epoch, progress.step, progress.minutes, shown)
        if not measures:  # without evaluation data the newest is the best
            self._export(checkpoint.BEST, measures)
        elif measures["loss"] < progress.best_loss:
            progress.best_loss, progress.best_epoch = measures["loss"], progress_epoch
            self._export(checkpoint.BEST, measures)
        if complete:
            if config.save_every and progress_epoch % config.save_every == 0:
                self._export(f"epoch_{progress_epoch:04d}.safetensors", measures)
            progress.epoch, progress.batch, progress.loss_sum, progress.loss_count = progress_epoch, 0, 0.0, 0
        self.save()


def start_run(config: Settings, make_task: Callable[[Settings, Accelerator], Task]) -> Outcome:
    """Run a training from its configuration: seed → data and model → loop.

    Parameters
    ----------
    config : RunConfig
    make_task : callable
        Reads data and builds the model on every rank alike.

    Returns
    -------
    Outcome
    """
    checkpoint.find_resume(config.resume, config.out)  # fail before the data are read
    accelerator = make_accelerator(config)
    seed_everything(config.seed)
    return Trainer(make_task(config, accelerator), config, accelerator).fit()
