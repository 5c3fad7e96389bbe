"""Which pieces are one work, and which works are held out.

Two pieces are one work if they share a group (a mass, a quartet, a BWV number, a tune title), all their
notes, or the first 20 melodic intervals; works that share pieces are merged.
"""

from __future__ import annotations

import hashlib
from typing import Any

TRAINING_ONLY = frozenset({"lieder"})
HELD_OUT_PERCENT, VALID_PERCENT = 10, 2


def drop_copies(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows without later ones whose notes equal an earlier one's up to transposition."""
    seen: set[str] = set()
    kept = []
    for row in rows:
        if row["whole"] not in seen:
            seen.add(row["whole"])
            kept.append(row)
    return kept


def works_of(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the work of every piece by id: the smallest id of the pieces it is joined with."""
    parent = {row["id"]: row["id"] for row in rows}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    owner: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row["id"]):
        for key in (
            *row["groups"],
            "whole " + row["whole"],
            *(["incipit " + row["incipit"]] if row["incipit"] else []),
        ):
            a, b = find(row["id"]), find(owner.setdefault(key, row["id"]))
            parent[max(a, b)] = min(a, b)
    return {name: find(name) for name in parent}


def assign(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return ``train``, ``valid`` or ``heldout`` for every piece by id.

    The hash of the work decides, so a piece added later moves no other work. Collections that are only
    for training never enter the other two; their pieces of a held-out work are left out (``"none"``).
    """
    works = works_of(rows)
    shared = {works[row["id"]] for row in rows if row["collection"] not in TRAINING_ONLY}
    split = {}
    for row in rows:
        name = works[row["id"]]
        percent = int(hashlib.sha256(f"mini {name}".encode()).hexdigest()[:8], 16) % 10000 / 100
        part = "heldout" if percent < HELD_OUT_PERCENT else "train"
        if part == "train" and percent < HELD_OUT_PERCENT + VALID_PERCENT * (1 - HELD_OUT_PERCENT / 100):
            part = "valid"
        if row["collection"] in TRAINING_ONLY and part != "train":
            part = "none" if name in shared else "train"
        split[row["id"]] = part
    return split
