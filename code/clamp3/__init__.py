"""CLaMP 3, CLaMP 2 and M3: text, scores, MIDI and audio in one embedding space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3
    from clamp3.embedding.reward import Reward

__version__ = "0.1.0"
__all__ = ["Clamp3", "Reward", "__version__"]


def __getattr__(name: str) -> Any:
    """Import ``Clamp3`` or ``Reward`` (and what they need) only when someone asks for it."""
    if name == "Clamp3":
        from clamp3.embedding.clamp3 import Clamp3

        return Clamp3
    if name == "Reward":
        from clamp3.embedding.reward import Reward

        return Reward
    raise AttributeError(f"module 'clamp3' has no attribute {name!r}")
