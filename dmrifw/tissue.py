"""What the operators are made of, in the caller's numbering."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dmrifw.typing import FloatArray


@dataclass(frozen=True, eq=False)
class Tissue:
    """The coefficients of the Bloch-Torrey equation, all but the permeability; replicated on all ranks.

    Attributes:
        diffusivity: (E,) or (E, 3, 3) um^2/ms.
        relaxation_rate: (E,) 1/T2, 1/ms.
        density: (E,) equilibrium density, relative.
        surface_relaxivity: (F,) um/ms.
        points: (V, 3) vertices, um.
    """

    diffusivity: FloatArray
    relaxation_rate: FloatArray
    density: FloatArray
    surface_relaxivity: FloatArray
    points: FloatArray


TISSUE_INPUTS = tuple(field.name for field in fields(Tissue))
"""Names of the inputs in a `Tissue`."""
