"""dmrifw: reconstruct microstructure from diffusion MRI by inverting the Bloch-Torrey equation.

Names resolve on first use, so that `dmrifw.forms` needs DOLFINx alone and never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("dmrifw")

_CLASSES = {
    "Grid": "dmrifw.mesh",
    "Protocol": "dmrifw.sequences",
    "SignalLayer": "dmrifw.bridge",
    "Simulator": "dmrifw.bridge",
}
_MODULES = (
    "bridge errors forms hookspecs inversion mesh metrics operators parametrizations plotting plugins priors "
    "propagators report schedules sequences simulator spaces surface testing typing units verify"
).split()

__all__ = [*_CLASSES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return getattr(import_module(_CLASSES[name]), name)
    if name in _MODULES:
        return import_module(f"dmrifw.{name}")
    raise AttributeError(f"module 'dmrifw' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
