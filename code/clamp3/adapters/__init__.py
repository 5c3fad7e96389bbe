"""CLaMP 3 as other packages call a model: one module per package, which is imported only with that module.

`stub` is a model without weights for the tests of users, `sentence_transformers` and `mteb` are for those packages,
`marble` for MARBLE's probes, `frechet_music_distance` and `fadtk` for Fréchet distances.
"""

from __future__ import annotations

from clamp3.errors import ConfigError


class MissingPackageError(ConfigError, ImportError):
    """The package that an adapter is for is not installed."""
