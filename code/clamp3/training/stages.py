"""The stages CLaMP 3 is trained in, as data: which music, whether the text tower trains, what has to stay as it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from clamp3.data.views import parse_pairs, towers_of
from clamp3.errors import DataError
from clamp3.models.checkpoint import open_checkpoint
from clamp3.models.config import TOWERS

# (music, does the text tower train?) per stage; arXiv 2502.10362. What a stage does not name is frozen.
ORDERS: dict[str, tuple[tuple[str, bool], ...]] = {
    "sa": (("symbolic", True), ("audio", False)),
    "saas": (("symbolic", True), ("audio", False), ("audio", True), ("symbolic", False)),
    "as": (("audio", True), ("symbolic", False)),
    "assa": (("audio", True), ("symbolic", False), ("symbolic", True), ("audio", False)),
}
TEXT_PAIRS = ("text-symbolic", "text-audio")
ALL_PAIRS = (*TEXT_PAIRS, "abc-mtf", "symbolic-audio")


@dataclass(frozen=True)
class Stage:
    """One training run.

    Attributes
    ----------
    name : str
        Also of its folder.
    music : str
        "symbolic" or "audio": which script trains it.
    text : bool
        Whether the text tower trains.
    pairs : tuple of str
        ``--pairs``; empty for text and the stage's music.
    after : str or None
        Stage whose checkpoint it starts from.
    """

    name: str
    music: str
    text: bool
    pairs: tuple[str, ...] = ()
    after: str | None = None

    @property
    def trained(self) -> tuple[str, ...]:
        """Towers that train."""
        used = towers_of(parse_pairs(self.pairs)) if self.pairs else ("text", self.music)
        return tuple(tower for tower in used if tower != "text" or self.text)


def plan(order: str, pairs: Sequence[str] = ()) -> list[Stage]:
    """Return the stages of an order; with ``pairs`` two more, both from the last of them, of which only one has them.

    The other one, ``text_pairs``, compares text with both kinds of music, so that what the pairs add can be measured.

    Parameters
    ----------
    order : str
        A key of `ORDERS`.
    pairs : sequence of str
    """
    stages: list[Stage] = []
    for number, (music, text) in enumerate(ORDERS[order], 1):
        stages.append(Stage(f"{number}_{music}", music, text, after=stages[-1].name if stages else None))
    if pairs:
        last = stages[-1].name
        stages += [Stage(name, "audio", True, tuple(compared), last) for name, compared in
                   (("text_pairs", TEXT_PAIRS), ("all_pairs", pairs))]  # fmt: skip
    return stages


def check_frozen(before: Path, after: Path, trained: Collection[str]) -> list[str]:
    """Return the towers that are in both files and were not trained, having checked that every bit of them is the same.

    Parameters
    ----------
    before, after : Path
        Checkpoints.
    trained : collection of str
        Towers.

    Raises
    ------
    DataError
        If a tensor of such a tower differs or is absent.
    """
    import torch

    one, other = open_checkpoint(before), open_checkpoint(after)
    kept = [tower for tower in TOWERS if tower not in trained and f"{tower}_proj.weight" in one.shapes]
    for name in one.shapes:
        if name.split("_")[0] not in kept:
            continue
        if name not in other.shapes or not torch.equal(one.tensor(name), other.tensor(name)):
            raise DataError(f"{name} should be frozen, but differs between {before} and {after}.")
    return kept
