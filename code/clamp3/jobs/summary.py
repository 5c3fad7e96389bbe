"""What a job did, for people and as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field

from clamp3.errors import EXIT_OK, EXIT_SOME_FAILED, printable

SHOWN = 20  # failures that a summary lists; the ledger has them all


@dataclass
class Summary:
    """What a job did with the inputs of a folder.

    Attributes
    ----------
    ok, skipped : int
        Inputs converted now, and those already done.
    failed : list of (input, reason)
        Unreadable folders included.
    ignored : list of str
        Files of other types.
    renamed : list of tuples
        Groups of inputs with one stem, each kept under a name of its own.
    notes : list of (input, note)
        What a user should know about files converted now.
    """

    ledger: str
    ok: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    renamed: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def sort(self) -> None:
        """Put failures and notes in the order of their inputs."""
        self.failed.sort()
        self.notes.sort()


def report(summary: Summary, *, as_json: bool = False) -> int:
    """Print a summary on stdout and return the exit code.

    Parameters
    ----------
    summary : Summary
    as_json : bool
        One JSON object in place of lines for people.

    Returns
    -------
    int
        0 all done, 1 some inputs failed.
    """
    if as_json:
        facts = asdict(summary)
        facts["failed"] = [{"input": name, "reason": reason} for name, reason in summary.failed]
        facts["notes"] = [{"input": name, "note": note} for name, note in summary.notes]
        facts["seconds"] = round(summary.seconds, 3)
        print(json.dumps(facts, ensure_ascii=True))
    else:
        for line in _lines(summary):
            print(printable(line, sys.stdout.encoding))
    return EXIT_SOME_FAILED if summary.failed else EXIT_OK


def _lines(summary: Summary) -> list[str]:
    lines = [
        f"{summary.ok} converted, {summary.skipped} already done, {len(summary.failed)} failed, "
        f"{len(summary.ignored)} of other types ignored, in {summary.seconds:.1f} s; ledger: {summary.ledger}"
    ]
    for group in summary.renamed[:SHOWN]:
        lines.append(f"  one stem, kept under distinct names: {', '.join(group)}")
    if len(summary.renamed) > SHOWN:
        lines.append(f"  ... and {len(summary.renamed) - SHOWN} more such groups")
    if summary.notes:
        files = len({name for name, _ in summary.notes})
        lines.append(f"  {files} converted with notes (see the ledger)")
    lines += [f"  failed: {name}: {reason}" for name, reason in summary.failed[:SHOWN]]
    if len(summary.failed) > SHOWN:
        lines.append(f"  ... and {len(summary.failed) - SHOWN} more, see the ledger")
    return lines
