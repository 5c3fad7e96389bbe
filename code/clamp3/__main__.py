"""``python -m clamp3``, the same as ``clamp3``; what launchers of several processes start: ``torchrun -m clamp3``."""

from clamp3.commands import entry

if __name__ == "__main__":
    raise SystemExit(entry())
