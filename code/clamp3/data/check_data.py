"""Everything that is wrong with a training JSONL, found before a run starts; ``code/check_data.py`` shows it."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from clamp3.data.audio_features import THREADS
from clamp3.data.jsonl import read_objects
from clamp3.data.music_files import check_file
from clamp3.data.records import UNKNOWN, file_names, known_fields, record_problems
from clamp3.data.shards import Resolver
from clamp3.data.splits import hash_of, item_id
from clamp3.data.views import suffixes, view_of, views
from clamp3.errors import FormatError, printable

BLOCK = 1000  # records whose files are read at a time


class Check:
    """What was found in one JSONL.

    Parameters
    ----------
    path : Path
    resolver : Resolver, optional
        Where to find files; without one they are not read.
    show : int
        Problems to keep, 0 for all; every one is counted.
    """

    def __init__(self, path: Path, resolver: Resolver | None, show: int = 0) -> None:
        self.path, self.resolver, self.show = path, resolver, show
        self.problems: list[str] = []
        self.n_problems = self.n_records = self.n_files = 0
        self.widths: defaultdict[str, Counter[int]] = defaultdict(Counter)  # by tower
        self._listed = False  # the names there are: once is enough
        self.ids, self.numbers = array("Q"), array("q")

    def add(self, number: int | None, reason: str) -> None:
        """Note a problem of a line, or of the whole file.

        Parameters
        ----------
        number : int or None
            Line, counted from 1; None for the file.
        reason : str
        """
        self.n_problems += 1
        if not self.show or len(self.problems) < self.show:
            place = self.path.name if number is None else f"{self.path.name}:{number}"
            self.problems.append(printable(f"{place}: {reason}"))

    def run(self) -> Check:
        """Look at every line and every file; return this."""
        records = self._records()
        with ThreadPoolExecutor(THREADS) as pool:
            while block := list(islice(records, BLOCK)):
                named = [(number, name) for number, fields in block for name in file_names(fields)]
                if self.resolver is None:
                    continue
                for (number, _), reason in zip(named, pool.map(self._file_problem, (n for _, n in named)), strict=True):
                    self.n_files += 1
                    if reason:
                        self.add(number, reason)
        for tower, found in self.widths.items():
            if len(found) > 1:
                widths = ", ".join(f"{n} of {width}" for width, n in sorted(found.items()))
                self.add(None, f"{tower} vectors of different width: {widths}")
        self._duplicates()
        return self

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for _, number, fields in read_objects(self.path):
            self.n_records += 1
            if fields is None:
                self.add(number, "no JSON object")
                continue
            for reason in record_problems(fields):
                known = not reason.startswith(UNKNOWN) or self._listed
                self.add(number, reason if known else f"{reason} (there are {known_fields()})")
                self._listed |= not known
            self.ids.append(hash_of(item_id(fields)))
            self.numbers.append(number)
            yield number, fields
        if not self.n_records:
            self.add(None, "no records")

    def _file_problem(self, name: str) -> str:
        assert self.resolver is not None
        view = view_of(name)
        if not view:
            return f"{name}: training reads {', '.join(suffixes())}; convert or extract it first"
        tower = views()[view].tower
        try:
            if width := check_file(tower, self.resolver.locate(name)):
                self.widths[tower][width] += 1
        except FormatError as error:
            return str(error).rstrip(".")
        return ""

    def _duplicates(self) -> None:
        ids, numbers = np.array(self.ids, dtype=np.uint64), np.array(self.numbers)
        order = np.argsort(ids, kind="stable")
        again = np.flatnonzero(ids[order][1:] == ids[order][:-1]) + 1
        for at in again:
            self.add(int(numbers[order[at]]), f"the id of line {numbers[order[at - 1]]}")

    def overlap(self, train: Check) -> None:
        """Note the records that are training records too."""
        for number in np.array(self.numbers)[np.isin(np.array(self.ids), np.array(train.ids))]:
            self.add(int(number), f"the id of a record in {train.path.name}: evaluation would see what was trained on")

    def facts(self) -> dict[str, Any]:
        """Return what was found as JSON-ready values."""
        counts = {"records": self.n_records, "files_read": self.n_files, "n_problems": self.n_problems}
        return {"file": str(self.path), **counts, "problems": self.problems}
