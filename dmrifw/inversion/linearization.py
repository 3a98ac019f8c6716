"""First derivatives both ways: of the residuals by the fields, and of the fields by the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from dmrifw.parametrizations import Parametrization
from dmrifw.tape import Tape
from dmrifw.typing import ComplexArray, FloatArray

if TYPE_CHECKING:
    from mpi4py import MPI


class Linearization:
    """A data loss at some fields: its value and gradient, and the Jacobian of the residuals behind it.

    All numbers are those of rank 0, to the last bit, so that ranks that decide by them decide alike.

    Args:
        tape: The simulation at these fields.
        wanted: Names of the fields by which it is differentiated.
        loss: From signals, (n,) complex, to the data loss.
        residuals: From signals to (m,) real residuals; the Hessian of half the sum of their squares, without what
            their own curvature adds, is that of the loss.
        comm: The ranks that take part.

    Attributes:
        loss: The data loss.
        size: Number of residuals m.
    """

    def __init__(
        self,
        tape: Tape,
        wanted: Sequence[str],
        loss: Callable[[torch.Tensor], torch.Tensor],
        residuals: Callable[[torch.Tensor], torch.Tensor],
        comm: MPI.Comm,
    ) -> None:
        self._tape, self._wanted, self._comm = tape, list(wanted), comm
        self._signal = torch.from_numpy(tape.signal).requires_grad_()
        value = loss(self._signal)
        (self._cotangent,) = torch.autograd.grad(value, self._signal)
        self._residuals = residuals(self._signal)
        # The derivative of the transposed product by its argument is the product forwards.
        self._dual = torch.zeros_like(self._residuals, requires_grad=True)
        (self._pulled,) = torch.autograd.grad(self._residuals, self._signal, self._dual, create_graph=True)
        self.size = len(self._residuals)
        self.loss: float = comm.bcast(value.item(), root=0)

    def gradient(self) -> dict[str, FloatArray]:
        """The gradient of the data loss by each field, in its shape, replicated. Collective."""
        return self._pull_back(self._cotangent)

    def signal_change(self, directions: Mapping[str, FloatArray]) -> ComplexArray:
        """(n,) the change of the signals along a direction, by field, um^3, replicated. Collective."""
        return np.asarray(self._comm.bcast(self._tape.push_forward(directions), root=0))

    def loss_change(self, change: ComplexArray) -> float:
        """The change of the data loss where signals change by (n,). Local."""
        return float(torch.sum(self._cotangent.conj() * torch.from_numpy(change)).real)

    def residual_change(self, change: ComplexArray) -> FloatArray:
        """(m,) the change of the residuals where signals change by (n,). Local."""
        (along,) = torch.autograd.grad(self._pulled, self._dual, torch.from_numpy(change), retain_graph=True)
        return along.numpy()

    def pull_back(self, cotangent: FloatArray) -> dict[str, FloatArray]:
        """The transposed Jacobian times a cotangent, (m,), by field, replicated. Collective."""
        seed = torch.from_numpy(np.ascontiguousarray(cotangent))
        (bar,) = torch.autograd.grad(self._residuals, self._signal, seed, retain_graph=True)
        return self._pull_back(bar)

    def _pull_back(self, bar: torch.Tensor) -> dict[str, FloatArray]:
        pulled = self._tape.pull_back(bar.detach().numpy(), self._wanted)
        return dict(self._comm.bcast(pulled, root=0))


class Chart:
    """The fields at the parameters as they stand, and their Jacobian both ways.

    It asks nothing of a parametrization but that torch can differentiate it twice backwards.

    Args:
        parametrization: The parametrization.
        parameters: The tensors that are learned.

    Attributes:
        fields: What the parametrization returned, with its graph.
        moving: Names of the fields that depend on parameters.
    """

    def __init__(self, parametrization: Parametrization, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.fields = dict(parametrization())
        self.moving = [name for name, value in self.fields.items() if value.requires_grad]
        self._live = [self.fields[name] for name in self.moving]
        self._duals = [torch.zeros_like(value, requires_grad=True) for value in self._live]
        self._pulled = self._gradient(self._duals, create_graph=True)

    def push_forward(self, direction: FloatArray) -> dict[str, FloatArray]:
        """The change of each moving field along a direction of the parameters, (p,). Local."""
        parts = [part for part in zip(self._pulled, self.split(direction), strict=True) if part[0].requires_grad]
        moved = torch.autograd.grad(
            [pulled for pulled, _ in parts],
            self._duals,
            [part for _, part in parts],
            retain_graph=True,
            materialize_grads=True,
        )
        return {name: value.cpu().numpy() for name, value in zip(self.moving, moved, strict=True)}

    def pull_back(self, cotangents: Mapping[str, FloatArray]) -> FloatArray:
        """(p,) the transposed Jacobian times cotangents of the moving fields. Local."""
        bars = [
            torch.from_numpy(np.asarray(cotangents[name])).to(value)
            for name, value in zip(self.moving, self._live, strict=True)
        ]
        return flat(self._gradient(bars))

    def slope(self, terms: Iterable[torch.Tensor], create_graph: bool = False) -> tuple[torch.Tensor, ...]:
        """The gradient of the sum of scalars that were made of `fields`, in the parameters' shapes. Local."""
        total = sum(terms, start=torch.zeros((), dtype=torch.float64))
        if not total.requires_grad:
            return tuple(torch.zeros_like(one) for one in self.parameters)
        return torch.autograd.grad(
            total, self.parameters, retain_graph=True, create_graph=create_graph, materialize_grads=True
        )

    def split(self, vector: FloatArray) -> list[torch.Tensor]:
        """A vector of the parameters, (p,), in their shapes. Local."""
        sizes = [one.numel() for one in self.parameters]
        parts = torch.from_numpy(np.ascontiguousarray(vector)).split(sizes)
        return [part.reshape(one.shape).to(one) for part, one in zip(parts, self.parameters, strict=True)]

    def _gradient(self, bars: Sequence[torch.Tensor], create_graph: bool = False) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(
            self._live,
            self.parameters,
            bars,
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,
        )


def flat(tensors: Sequence[torch.Tensor]) -> FloatArray:
    """(p,) the entries of all tensors, one after the other. Local."""
    return torch.cat([one.detach().to("cpu", torch.float64).flatten() for one in tensors]).numpy()
