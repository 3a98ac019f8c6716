"""The only module that joins the simulator to torch: the signal as a differentiable function."""

from __future__ import annotations

from typing import Any

import torch

from dmrifw.errors import InputError
from dmrifw.simulator import SignalModel
from dmrifw.typing import ArrayLike


class Simulator(SignalModel):
    """Signals as a torch function: the public face of `SignalModel`, whose arguments it takes.

    Permeability in, signal out, both replicated on all ranks; the gradient is exact for the basis of modes held.
    """

    def __call__(self, permeability: torch.Tensor | ArrayLike, rows: ArrayLike | None = None) -> torch.Tensor:
        """Signals of the protocol, or of some of its rows.

        Args:
            permeability: (F,) um/ms in the order of `grid.faces`, or a scalar for all faces; replicated. A tensor may
                require a gradient.
            rows: Rows of the protocol, indices or a mask; all of them by default.

        Returns:
            (n,) complex128, um^3, replicated, on the device of the permeability.

        Raises:
            InputError: The permeability is negative, not finite or of the wrong length.
            ConvergenceError: The tolerance cannot be met.

        Collective; so is the backward pass.
        """
        tensor = torch.as_tensor(permeability, dtype=torch.float64)
        if tensor.ndim == 0:
            tensor = tensor.expand(len(self.grid.faces))
        return _Signal.apply(tensor, self, rows)


class _Signal(torch.autograd.Function):
    """All state of one call lives in its context, so that several graphs can be alive at once."""

    @staticmethod
    def forward(ctx: Any, permeability: torch.Tensor, simulator: Simulator, rows: ArrayLike | None) -> torch.Tensor:
        wanted = ctx.needs_input_grad[0]
        signal, tape = simulator.signal(permeability.detach().cpu().numpy(), rows, keep=wanted)
        ctx.simulator, ctx.tape = simulator, tape if wanted else None
        return torch.from_numpy(signal).to(permeability.device)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        if ctx.tape is None:
            raise InputError("this signal was computed without a gradient", "set requires_grad on the permeability")
        gradient = ctx.simulator.pull_back(ctx.tape, cotangent.detach().cpu().numpy())
        return torch.from_numpy(gradient).to(cotangent.device), None, None
