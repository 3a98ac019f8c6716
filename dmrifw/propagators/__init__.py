"""Time evolution of the magnetization and its exact adjoint."""

from dmrifw.propagators.full_order import FullOrder
from dmrifw.propagators.matrix_formalism import Automatic, MatrixFormalism
from dmrifw.propagators.propagator import Propagator, Tape

__all__ = ["Automatic", "FullOrder", "MatrixFormalism", "Propagator", "Tape"]
