"""Prompts, each a text file ``<name>-<version>.txt``: a changed prompt is a new file with the next version.

A file has two parts, ``=== system`` and ``=== user``, with ``$placeholders``.
"""

from __future__ import annotations

import hashlib
import re
import string
from dataclasses import dataclass
from pathlib import Path

Message = dict[str, str]
AGAIN = "That answer cannot be used: {problem}. Answer the same request again, in the form asked for."


@dataclass(frozen=True)
class Prompt:
    """A prompt and its identity, file name and hash, so that ledger and provenance record every edit."""

    version: str
    system: str
    user: str

    def messages(self, **values: str) -> list[Message]:
        """Return the conversation's first two messages."""
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": string.Template(self.user).substitute(values)},
        ]


def load_prompt(name: str) -> Prompt:
    """Return a prompt of this folder, such as ``"summarize-1"``."""
    text = Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8")
    parts = dict(zip(*[iter(re.split(r"(?m)^=== (\w+)\n", text)[1:])] * 2, strict=True))
    digest = hashlib.sha256((text + AGAIN).encode()).hexdigest()[:8]
    return Prompt(f"{name}@{digest}", **{part: parts[part].strip() for part in ("system", "user")})
