r"""Generated music to numbers that a training loop can maximise: how near each piece is to a reference or its prompt.

    from clamp3 import Clamp3, Reward

    reward = Reward(Clamp3.from_pretrained("saas"), ["reel_1.abc", "reel_2.abc"], kind="abc", broken=-1.0)
    reward(["X:1\nM:6/8\nK:G\nGAG GAB|", "no music"])  # array of two: a cosine, and -1

Nothing is written, and what a generator wrote is never read as a path or as words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clamp3.embedding.cosines import SCORE_DECIMALS
from clamp3.embedding.encoded import Errors, as_numpy, encoded_of, normalized
from clamp3.errors import ConfigError, DataError
from clamp3.formats import Kind
from clamp3.formats.content import kind_in
from clamp3.sources import Item, Source, is_item

if TYPE_CHECKING:
    from clamp3.embedding.clamp3 import Clamp3, Comparable


@dataclass(frozen=True)
class Rewards:
    """What a batch is worth.

    Attributes
    ----------
    values : float64 array, shape (N,)
        Cosines in [-1, 1], ``broken`` for pieces without a vector.
    errors : Errors
        For each piece one sentence on why it has no vector, None if it has one.
    """

    values: NDArray[np.float64]
    errors: Errors


class Reward:
    r"""The cosine of generated pieces to a reference.

    Parameters
    ----------
    model : Clamp3
    reference : inputs, Encoded or float array, optional
        What pieces should be near: one or several of what `Clamp3.encode` takes, what it returned, or vectors. Of
        several the mean vector counts, as `clamp3_score.py --group` takes it. None where every piece has a prompt.
    kind : str, optional
        What generated strings and bytes hold: ``abc``, ``mtf``, ``musicxml``, ``midi``, … Without it each must show it.
    broken : float
        What a piece is worth that has no vector.

    Raises
    ------
    DataError
        If a reference has no vector.
    ConfigError
        If there is no such kind.

    Examples
    --------
    >>> from clamp3 import Clamp3
    >>> reward = Reward(Clamp3.from_pretrained("mini"), "an Irish jig", kind="abc", broken=-1.0)
    >>> jig, drone = "X:1\nL:1/8\nM:6/8\nK:G\nGAG GAB|ABA ABd|", "X:1\nL:1/8\nM:C\nK:C\nC8|C8|"
    >>> first, second, third = reward([jig, drone, "no music"])
    >>> bool(first > second > third), float(third)
    (True, -1.0)
    """

    def __init__(
        self, model: Clamp3, reference: Comparable | None = None, *, kind: str | None = None, broken: float = -1.0
    ) -> None:
        if kind is not None and kind not in Kind.known:
            raise ConfigError(f"{kind!r} is no kind of file; there are {', '.join(Kind.known)}.")
        self._model, self._kind, self._broken = model, kind, broken
        self._centroid: NDArray[Any] | None = None
        if reference is not None:
            self._centroid = self._vectors_of(reference).mean(axis=0, keepdims=True, dtype=np.float64)

    def __call__(self, pieces: Item | Iterable[Any], prompts: Comparable | None = None) -> NDArray[np.float64]:
        """Return what each piece is worth; see `score`.

        Parameters
        ----------
        pieces, prompts
            As `score` takes them.
        """
        return self.score(pieces, prompts).values

    def score(self, pieces: Item | Iterable[Any], prompts: Comparable | None = None) -> Rewards:
        """Return what each piece is worth, and why broken ones have no vector.

        Parameters
        ----------
        pieces : iterable of str, bytes or other inputs
            Strings and bytes are what was generated, never paths or words; of a conversation, a list of messages, the
            content of the last. One alone is a batch of one.
        prompts : inputs, Encoded or float array, optional
            One for each piece, which counts in place of the reference.

        Raises
        ------
        DataError
            If a prompt has no vector, there are more or fewer than pieces, or neither prompts nor a reference.
        """
        listed: Any = [pieces] if is_item(pieces) else pieces
        encoded = self._model.encode([self._source(piece) for piece in listed])
        targets = self._centroid if prompts is None else self._vectors_of(prompts)
        if targets is None:
            raise DataError("the reward has no reference; give one, or prompts with the pieces.")
        if len(targets) not in ({len(encoded.names)} if prompts is not None else {1}):
            raise DataError(f"{len(targets)} prompts for {len(encoded.names)} pieces; give one for each.")
        cosines = (normalized(encoded.vectors) * normalized(targets)).sum(axis=1)
        values = np.where(encoded.ok, np.round(cosines, SCORE_DECIMALS), self._broken)
        return Rewards(values, encoded.errors)

    def _source(self, piece: Any) -> Any:
        """Return what a piece is encoded as; a string or bytes that show no music become an error of that piece."""
        if isinstance(piece, list) and piece and isinstance(piece[-1], Mapping) and "content" in piece[-1]:
            piece = piece[-1]["content"]
        if not isinstance(piece, (str, bytes, bytearray, memoryview)):
            return piece
        written = piece.encode("utf-8", "replace") if isinstance(piece, str) else bytes(piece)
        kind = self._kind or kind_in(written)
        return Source(Kind(kind), f"a piece of kind {kind}", data=written) if kind else written

    def _vectors_of(self, reference: Comparable) -> NDArray[Any]:
        encoded = encoded_of(reference, self._model.encode)
        reason = next((error for error in encoded.errors if error), None)
        if reason is not None or not len(encoded.vectors):
            raise DataError(f"a reference has no vector: {reason or 'there is none.'}")
        return as_numpy(encoded.vectors)
