"""The one training loop, on accelerate: one process, ``accelerate launch`` or ``torchrun``.

Order: seed → model → freeze → wrap → optimizer → resume → loop. The learning rate is a pure function
of the step, so there is no scheduler state that could be lost or bound to the wrong optimizer.

A *step* is one change of the weights; it takes one batch, or ``--accumulate`` of them.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from clamp3.errors import ConfigError, sentence_of
from clamp3.training import checkpoint, logs, released
from clamp3.training import resume as going_on
from clamp3.training.averages import Averages
from clamp3.training.checkpoint import Progress
from clamp3.training.config import RunConfig, to_plain
from clamp3.training.device import (
    compile_layers,
    make_accelerator,
    make_optimizer,
    prepared,
    quick_dropout,
    recompute_layers,
)
from clamp3.training.gradcache import average_gradients, cached_backward, chunks
from clamp3.training.loading import groups, make_loader, on_device
from clamp3.training.opening import Outcome, Pace, memory_in_words, say_first
from clamp3.training.ranks import Ranks, ending_together
from clamp3.training.run_folder import only_run
from clamp3.training.schedule import learning_rate_at
from clamp3.training.signals import stop_on_signal
from clamp3.training.task import ChunkedTask, PreparedTask, Stopped, Task

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.utils.data import DataLoader

logger = logging.getLogger(__name__)

QUICK_STEPS, SLOW_SEC = 10, 1.0  # how many steps, at most of how long, an end may be asked for without being noticed

Settings = TypeVar("Settings", bound=RunConfig)


def seed_everything(seed: int) -> None:
    """Seed torch, equally on all ranks, for the weights; the loop seeds dropout per rank afterwards."""
    torch.manual_seed(seed)


class Trainer:
    """One run: see `fit`.

    Parameters
    ----------
    task : Task
    config : RunConfig
    accelerator : Accelerator
    """

    def __init__(self, task: Task, config: RunConfig, accelerator: Accelerator) -> None:
        self.task, self.config, self.accelerator = task, config, accelerator
        self.chunked = task if isinstance(task, ChunkedTask) and task.chunk else None
        self.ranks = Ranks(accelerator, timedelta(minutes=config.wait_minutes))
        self.rank, self.world_size, self.main = self.ranks.rank, self.ranks.world_size, self.ranks.main
        self.progress = Progress()
        self.revision = checkpoint.git_revision() if self.main else None
        n_batches = len(task.batches(0, self.rank, self.world_size))
        if not n_batches:
            raise ConfigError(
                f"Too few training items for {self.world_size} processes; every process needs at least one."
            )
        self.total_steps = config.epochs * -(-n_batches // config.accumulate)
        if config.max_steps:
            self.total_steps = min(self.total_steps, config.max_steps)

        resume = checkpoint.find_resume(config.resume, config.out)
        config.out.mkdir(parents=True, exist_ok=True)
        if config.recompute:
            recompute_layers(task.module)
        if config.compile:
            compile_layers(task.module)
        elif accelerator.device.type == "cpu":
            quick_dropout(task.module)
        self.wrapped = prepared(accelerator, task)
        self.parameters = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(task, config)
        self.averages = Averages(task.module, config.ema) if config.ema else None
        self.asked: list[int] = []
        self.slow = True  # until the first steps say otherwise
        self.finite = torch.ones((), dtype=torch.bool, device=accelerator.device)  # every loss so far; no step waits
        torch.manual_seed(config.seed + self.rank)
        self.adopted = released.adopted_by(resume) if resume is not None else None
        self.settings = {**to_plain(config), **going_on.facts_of(config, task)}
        with self.ranks.together():
            if resume is not None:
                self._restore(resume)
        if self.world_size > 1:
            step = f"step {self.progress.step}" + (f" of {resume.name}" if resume else "")
            self.ranks.require_same({"state": step, "weights": f"{checkpoint.digest(task.module):08x}"})
        if self.main:
            say_first(config, task.module, accelerator.device, self.world_size, n_batches, self.total_steps)
            done = (self.progress.step, self.progress.epoch) if resume else (-1, -1)
            logs.truncate(config.out / logs.METRICS, *done)
        self.metrics = logs.Metrics(config, self.main, step=self.progress.step)
        self.pace = Pace(self.main, self.total_steps)

    def _restore(self, path: Path) -> None:
        if self.adopted == str(path.resolve()):
            self.progress = released.adopt(path, self.task.module, self.optimizer)
            if self.main:
                logger.info("going on after epoch %d of %s", self.progress.epoch, path)
            return
        state = checkpoint.load(path)
        before, n_before = state["config"], len(state["rng"])
        changed = going_on.check_same_run(before, self.settings, n_before, self.world_size)
        try:
            self.task.module.load_state_dict(state["model"])
            factors = [group["factor"] for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(state["optimizer"])
            for group, factor in zip(self.optimizer.param_groups, factors, strict=True):
                group["factor"] = factor  # of the rates of now
            if self.averages is not None:
                self.averages.load_state_dict(state["averages"])
            if state.get("scaler") and self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path} does not fit this run: {sentence_of(error)}.") from None
        self.progress = Progress(**state["progress"])
        if n_before == self.world_size:
            checkpoint.set_rng_state(state["rng"][self.rank])
        else:
            done = going_on.batches_done(before, n_before, self.config, self.world_size, self.progress.batch)
            self.progress.batch = done
            changed.append(f"{self.world_size} processes in place of {n_before}, so dropout differs")
        if self.main:
            logger.info("resumed %s at step %d", path, self.progress.step)
            if changed:
                logger.warning("resumed with other settings: %s", ", ".join(changed))

    def _require_finite(self) -> None:
        """Stop, on every rank at once, before anything is kept of weights that are no numbers any more."""
        norm = torch.nn.utils.get_total_norm(self.parameters)
        if self._any_rank(not bool(self.finite & norm.isfinite()))[0]:
            raise checkpoint.not_finite("The loss or a weight is NaN or infinite", self.progress.step)

    def save(self) -> None:
        """Write ``last.pt``; every rank must call it."""
        self._require_finite()
        rng = self.ranks.all(checkpoint.rng_state())
        scaler = self.accelerator.scaler
        with self.ranks.together():
            if self.main:
                checkpoint.save(
                    self.config.out / checkpoint.LAST,
                    keep_last=self.config.keep_last,
                    model=self.task.module.state_dict(),
                    optimizer=self.optimizer.state_dict(),
                    scaler=None if scaler is None else scaler.state_dict(),
                    rng=rng,
                    averages=None if self.averages is None else self.averages.state_dict(),
                    progress=self.progress,
                    config={**self.settings, released.ADOPTED: self.adopted},
                    revision=self.revision,
                )

    def _export(self, name: str, measures: dict[str, float]) -> None:
        with self.ranks.together(), self._measured_weights():
            if self.main:
                info = {"training": to_plain(self.config), "git": self.revision, "epoch": self.progress.epoch + 1,
                        "step": self.progress.step, "evaluation": measures}  # fmt: skip
                self.task.export(self.config.out / name, info)

    def _measured_weights(self) -> contextlib.AbstractContextManager[None]:
        """Return a block in which the module has the weights that are evaluated and exported."""
        return contextlib.nullcontext() if self.averages is None else self.averages.in_place()

    def step(self, batches: Sequence[dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """Do one optimizer step on batches that lie on the device; return the mean loss and the last measures."""
        scaler = self.accelerator.scaler
        # Where one backward pass is not the whole gradient, ranks exchange it once, when it is.
        whole = len(batches) == 1 and self.chunked is None
        losses = []
        for batch in batches:
            with contextlib.nullcontext() if whole else self.accelerator.no_sync(self.wrapped):
                loss, measures = self._backward(batch, 1 / len(batches))
            losses.append(loss)
        if not whole:
            average_gradients(self.parameters)
        logged = (self.progress.step + 1) % self.config.log_every == 0
        if self.config.max_grad_norm or logged:
            if scaler is not None:
                scaler.unscale_(self.optimizer)
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
            if self.config.max_grad_norm:
                torch.nn.utils.clip_grads_with_norm_(self.parameters, self.config.max_grad_norm, norm)
            measures = {**measures, "grad_norm": norm}
        loss = torch.stack(losses).mean()
        if scaler is None:
            self.optimizer.step()
            self.finite &= loss.isfinite()
        else:  # it leaves out the steps that would harm
            scaler.step(self.optimizer)
            scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        if self.averages is not None:
            self.averages.update(self.progress.step)
        return loss, measures

    def _backward(self, batch: dict[str, Tensor], share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Add a batch's gradient, times ``share``, to the parameters; return its loss and measures."""
        scaler = self.accelerator.scaler

        def backward(loss: Tensor) -> None:
            (loss * share if scaler is None else scaler.scale(loss * share)).backward()

        if (task := self.chunked) is not None:
            parts = chunks(batch, task.chunk)
            return cached_backward(task.module, lambda found: task.compare(found, batch), parts, backward)
        loss, measures = self.task.loss(self.wrapped, batch)
        backward(loss)
        return loss.detach(), measures

    def _averaged(self, loss: Tensor, measures: dict[str, Tensor]) -> tuple[float, dict[str, float]]:
        """Return loss and measures as means over all ranks."""
        values = torch.stack([part.to(loss) for part in (loss, *measures.values())])
        mean, *rest = self.accelerator.reduce(values, "mean").tolist()
        return mean, {name: round(part, 6) for name, part in zip(measures, rest, strict=True)}

    def _any_rank(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether it is set on some rank; from here on all ranks have the minutes of the first.

        Learning rates and ends by time follow from the minutes, so they must be the same number everywhere.
        """
        *set_, self.progress.minutes = self.ranks.sums([*flags, self.progress.minutes if self.main else 0.0])
        return tuple(bool(flag) for flag in set_)

    def _agreed(self, *flags: bool, seconds: float) -> tuple[bool, ...]:
        """Return `_any_rank` after a step that took so long here; of quick steps the ranks ask only after some."""
        quick = not self.slow and not self.config.max_minutes and self.world_size > 1
        if quick and self.progress.step % min(self.config.log_every, QUICK_STEPS):
            return (False,) * len(flags)
        *found, self.slow = self._any_rank(*flags, seconds > SLOW_SEC)
        return tuple(found)

    def _why_stop(self, asked: bool) -> str:
        """Return why to stop now, or ""; the same on every rank."""
        if asked:
            return "stopped"
        if self.config.max_minutes > 0 and self.progress.minutes >= self.config.max_minutes:
            return "time"
        if self.config.patience and self.progress.evaluations >= self.config.patience:
            return "patience"
        return "steps" if self.config.max_steps and self.progress.step >= self.config.max_steps else ""

    def _poll(self) -> None:
        if self._any_rank(bool(self.asked))[0]:
            raise Stopped

    def fit(self) -> Outcome:
        """Train to the end, the time limit, or SIGTERM or Ctrl-C; evaluate after every epoch and at the end.

        Returns
        -------
        Outcome
            After SIGTERM the last checkpoint is written without evaluating first.
        """
        with stop_on_signal() as self.asked, memory_in_words(self.config, self.progress):
            # A run that was resumed after its limit has nothing left to do.
            reason = self._why_stop(False)  # the minutes of the checkpoint are the same on every rank
            while not reason and self.progress.epoch < self.config.epochs:
                try:
                    reason = self._epoch()
                    if reason == "stopped":
                        break
                    if reason != "patience":  # it has just been evaluated
                        self._evaluate(complete=not reason)
                        reason = reason or self._why_stop(False)
                except Stopped:
                    reason = "stopped"
            self.save()
        self.metrics.close(plot=reason != "stopped")  # who asks for an end wants it soon
        return Outcome(self.progress, reason or "done", self.main)

    def _loader(self) -> DataLoader[Any]:
        batches = self.task.batches(self.progress.epoch, self.rank, self.world_size)[self.progress.batch :]
        pin = self.accelerator.device.type == "cuda"
        return make_loader(self.task, batches, self.progress.epoch, workers=self.config.workers, pin=pin)

    def _epoch(self) -> str:
        """Run the rest of the current epoch; return why it ended early, or ""."""
        from tqdm import tqdm

        progress, config, device = self.progress, self.config, self.accelerator.device
        begin = mark = saved = now = time.monotonic()
        if isinstance(self.task, PreparedTask):
            self.task.prepare(progress.epoch, self.accelerator, self._poll)
        self.task.train()
        loader, n_batches = self._loader(), len(self.task.batches(progress.epoch, self.rank, self.world_size))
        spent, items, tokens = progress.minutes, 0, 0
        bar = tqdm(
            groups(loader, config.accumulate),
            total=-(-len(loader) // config.accumulate),
            desc=f"epoch {progress.epoch + 1}",
            disable=None if self.main else True,  # None: where stderr is no terminal
            leave=False,
            mininterval=2,
        )
        for group in bar:
            items += sum(len(next(iter(batch.values()))) for batch in group) * self.world_size
            tokens += logs.count_tokens(group) * self.world_size
            batches = [on_device(batch, device) for batch in group]
            share = progress.minutes / config.max_minutes if config.max_minutes else 0.0
            rate = learning_rate_at(progress.step, config, total_steps=self.total_steps, time_share=share)
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = rate * parameters["factor"]
            loss, measures = self.step(batches)
            progress.batch += len(group)
            before, now = now, time.monotonic()
            progress.minutes = spent + (now - begin) / 60
            if progress.step % config.log_every == 0:
                value = self._log(loss, measures, lr=rate, items=items / (now - mark), tokens=tokens / (now - mark))
                bar.set_postfix(loss=f"{value:.4f}", lr=f"{rate:.1e}", refresh=False)
                mark, items, tokens = now, 0, 0
            due = config.save_minutes > 0 and now - saved > 60 * config.save_minutes
            asked, due = self._agreed(bool(self.asked), due, seconds=now - before)
            if reason := self._why_stop(asked):
                return reason
            if config.eval_every and progress.step % config.eval_every == 0 and progress.batch < n_batches:
                self._evaluate(complete=None)
                if reason := self._why_stop(False):
                    return reason
                self.task.train()
                begin, spent = time.monotonic(), progress.minutes
                saved = mark = begin
                items = tokens = 0
            elif due:
                self.save()
                saved = time.monotonic()
        return ""

    def _log(self, loss: Tensor, measures: dict[str, Tensor], *, lr: float, items: float, tokens: float) -> float:
        """Write a row of metrics; return the loss, the mean over all ranks, having checked that it is a number."""
        progress = self.progress
        value, averages = self._averaged(loss, measures)
        if not math.isfinite(value):
            raise checkpoint.not_finite(f"The loss is {value}", progress.step)
        progress.loss_sum, progress.loss_count = progress.loss_sum + value, progress.loss_count + 1
        self.metrics.write(
            kind="train",
            step=progress.step,
            epoch=progress.epoch + 1,
            loss=value,
            lr=lr,
            items_per_sec=round(items, 2),
            tokens_per_sec=round(tokens, 1),
            memory_mb=round(logs.memory_mb(self.accelerator.device), 1),
            minutes=round(progress.minutes, 3),
            **averages,
        )
        self.pace.after(progress, value)
        return value

    def _evaluate(self, *, complete: bool | None) -> None:
        """Evaluate, keep the best, write the checkpoint; then turn to the next epoch if this one is complete.

        Parameters
        ----------
        complete : bool or None
            Whether the epoch is at its end; None in its midst, after ``--eval_every`` steps.
        """
        self._require_finite()
        progress, config = self.progress, self.config
        progress_epoch = progress.epoch + 1
        begin = time.monotonic()
        with self._measured_weights():
            measures = self.task.evaluate(self.accelerator, self._poll)
        progress.minutes += (time.monotonic() - begin) / 60
        self._any_rank()
        train_loss = progress.loss_sum / progress.loss_count if progress.loss_count else float("nan")
        row: dict[str, Any] = {f"eval_{name}": value for name, value in measures.items()}
        if progress.loss_count:
            row["train_loss"] = train_loss
        where = {"step": progress.step, "epoch": progress_epoch} | ({} if complete else {"partial": True})
        self.metrics.write(kind="epoch", **where, minutes=round(progress.minutes, 3), **row)
        if self.main:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
            logger.info("epoch %d, step %d, %.1f min: %s", progress_epoch, progress.step, progress.minutes, shown)
        if self._is_best(measures):
            self._export(checkpoint.BEST, measures)
        if complete:
            if config.save_every and progress_epoch % config.save_every == 0:
                self._export(f"epoch_{progress_epoch:04d}.safetensors", measures)
            progress.epoch, progress.batch, progress.loss_sum, progress.loss_count = progress_epoch, 0, 0.0, 0
        self.save()

    def _is_best(self, measures: dict[str, float]) -> bool:
        """Return whether these are the best so far, and remember them; without evaluation the newest always is."""
        if not measures:
            return True
        progress = self.progress
        ranked = [value for name, value in measures.items() if name.startswith("mrr_")]
        mrr = sum(ranked) / len(ranked) if ranked else 0.0
        better = measures["loss"] < progress.best_loss
        if self.config.best_by == "mrr" and ranked and mrr != progress.best_mrr:
            better = mrr > progress.best_mrr  # of equal ones, as where few pieces are all ranked first, the lower loss
        progress.evaluations = 0 if better else progress.evaluations + 1
        if better:
            progress.best_loss, progress.best_mrr, progress.best_epoch = measures["loss"], mrr, progress.epoch + 1
        return better


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
    resume = checkpoint.find_resume(config.resume, config.out)  # fails before the data are read
    with ending_together(config.wait_minutes), contextlib.ExitStack() as held:
        accelerator = make_accelerator(config)
        ranks = Ranks(accelerator, timedelta(minutes=config.wait_minutes))
        held.enter_context(only_run(config.out, ranks))
        seed_everything(config.seed)
        config = going_on.continued(config, resume, ranks.world_size)
        config, started = going_on.build_settings(config, resume)
        return Trainer(make_task(started, accelerator), config, accelerator).fit()
