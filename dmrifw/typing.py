"""Types named once: arrays, whose shapes and units stand in the docstrings that use them, and choices."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
ComplexArray: TypeAlias = npt.NDArray[np.complex128]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
ArrayLike: TypeAlias = Any
"""Anything that `numpy.asarray` takes."""

Method: TypeAlias = Literal["automatic", "matrix-formalism", "full-order"]
"""How time evolution is computed: see `SignalModel`."""

Degree: TypeAlias = Literal[1, 2]
"""Polynomial degree of the elements."""

Exterior: TypeAlias = Literal["reflecting", "permeable"]
"""What happens at the outside of a grid."""

Axes: TypeAlias = tuple[bool, bool, bool]
"""Something that holds or not along x, y and z."""
