"""Time evolution of the magnetization and its exact adjoint."""

from dmrifw.propagators.matrix_formalism import MatrixFormalism, Tape

__all__ = ["MatrixFormalism", "Tape"]
