"""A long recipe as steps: what is done is written down at once and never done again, whatever ends the run."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clamp3.errors import ConfigError, DataError
from clamp3.formats.tables import read_json, without_nan
from clamp3.jobs.atomic import write_text


@dataclass(frozen=True)
class Step:
    """One step: its name, what it was asked to do (JSON values), and what does it.

    ``run`` returns JSON values, or raises; it is called again after an interruption and has to go on by itself.
    """

    name: str
    settings: Any
    run: Callable[[], Any]


def run_steps(path: Path, steps: Sequence[Step]) -> Iterator[tuple[str, Any, float]]:
    """Do the steps that the state file does not know as done, and yield name, result and seconds of every one.

    Parameters
    ----------
    path : Path
        State file, JSON; rewritten after each step.
    steps : sequence of Step

    Raises
    ------
    ConfigError
        If the file is damaged, or a step in it was done with other settings.
    """
    try:
        state: dict[str, _Done] = read_json(path, dict[str, _Done], error=ConfigError, default={})
    except ConfigError as error:
        raise ConfigError(f"{error} The state of this run is damaged; move it away to start anew.") from None
    for step in steps:
        if step.name in state and state[step.name].settings != step.settings:
            raise ConfigError(
                f"{path}: the step {step.name} is done, but with other settings, {state[step.name].settings}; "
                "give the same flags or another folder."
            )
    for step in steps:
        if step.name not in state:
            started = time.monotonic()
            result = step.run()
            state[step.name] = _Done(step.settings, result, round(time.monotonic() - started, 1))
            noted = {name: vars(done) for name, done in state.items()}
            write_text(path, json.dumps(without_nan(noted), indent=1) + "\n")  # ASCII: paths may be no UTF-8
        yield step.name, state[step.name].result, state[step.name].seconds


@dataclass(frozen=True)
class _Done:
    """What the state file says of a step."""

    settings: Any
    result: Any
    seconds: float


def call(command: Sequence[str], name: str) -> None:
    """Run a program to its end. Whoever asks us to end meanwhile, asks it; we end after it.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    name : str
        How messages call it.

    Raises
    ------
    DataError
        If it does not end well.
    KeyboardInterrupt
        If we were asked to end.
    """
    asked: list[int] = []
    child = subprocess.Popen(list(command))  # noqa: S603 (a list, no shell; of our own scripts)

    def pass_on(number: int, _frame: object) -> None:
        asked.append(number)
        if number == signal.SIGTERM:  # Ctrl-C reaches the child from the terminal
            child.terminate()

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt
    if code:
        raise DataError(f"{name} ended with exit code {code}; its message is above.")
