"""What arrays come from, as a value and as the one text that features.json, ledgers and cache keys hold."""

from __future__ import annotations

import re
from dataclasses import dataclass

NO_FRONT_END = "no MERT"  # the front end of recordings where MERT is absent: none of them becomes an array

_TEXT = re.compile(r"(?P<space>.+?):(?P<dtype>\w*(?:float|int)\d+)((\+(?P<front_end>.+))?\+(?P<preprocessing>[^+:]+))?")
_SPACE = re.compile(r"(?P<weights>.+?-[0-9a-f]{12})\+(?P<tokenizer>.+)")


@dataclass(frozen=True)
class Identity:
    """All that an array depends on besides its input: ``weights[+tokenizer]:dtype[[+front end]+preprocessing]``.

    Attributes
    ----------
    weights : str
        Name and hash of the weights, as `clamp3.models.registry.identity` gives them.
    dtype : str
        Arithmetic, "float32" or "bfloat16", of exported towers "onnx_float32" or "onnx_int8".
    tokenizer : str
        Mark of a tokenizer other than the weights' own.
    front_end : str
        What turns an input into the vectors that the tower takes, e.g. the identity of MERT.
    preprocessing : str
        Version of what is done to inputs of this kind only, e.g. "audio1"; where there is a front end, not empty.

    Examples
    --------
    >>> recording = Identity.parse("saas-0123456789ab+89abcdef:float32+mel+audio1")
    >>> recording.space, recording.dtype, recording.front_end, recording.preprocessing
    ('saas-0123456789ab+89abcdef', 'float32', 'mel', 'audio1')
    >>> str(Identity("mini-0123456789ab", "bfloat16"))
    'mini-0123456789ab:bfloat16'
    """

    weights: str
    dtype: str
    tokenizer: str = ""
    front_end: str = ""
    preprocessing: str = ""

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Return the identity with this text; one without arithmetic names weights alone."""
        found = _TEXT.fullmatch(text)
        parts = found.groupdict("") if found else {"space": text, "dtype": "", "front_end": "", "preprocessing": ""}
        space = parts.pop("space")
        inside = _SPACE.fullmatch(space)
        return cls(**parts, **(inside.groupdict() if inside else {"weights": space}))

    @property
    def space(self) -> str:
        """Weights and tokenizer: vectors of one space may be compared, whatever the arithmetic."""
        return f"{self.weights}+{self.tokenizer}" if self.tokenizer else self.weights

    def __str__(self) -> str:
        arithmetic = f":{self.dtype}" if self.dtype else ""
        return "+".join(part for part in (self.space + arithmetic, self.front_end, self.preprocessing) if part)
