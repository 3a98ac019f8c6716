"""The only module that joins the simulator to torch: the signal as a differentiable function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from dmrifw.inputs import check_name
from dmrifw.simulator import SignalModel
from dmrifw.typing import ArrayLike, FloatArray

_Value = torch.Tensor | ArrayLike


class Simulator(SignalModel):
    """Signals as a torch function: the public face of `SignalModel`, whose arguments it takes.

    Inputs in, signal out, all replicated on all ranks. The gradient is that of the computed signal: exact for the
    scheme, and for the basis of modes held.
    """

    def __call__(
        self, permeability: _Value = 0.0, rows: ArrayLike | None = None, **others: _Value | Mapping[int, _Value]
    ) -> torch.Tensor:
        """Signals of the protocol, or of some of its rows.

        Args:
            permeability: um/ms: (F,) in the order of `grid.faces`, (I,) one per interface between compartments, or a
                scalar for all faces.
            rows: Rows of the protocol, indices or a mask; all of them by default.
            **others: Further inputs, as of `SignalModel.signal`: `diffusivity`, `T2`, `density`, `surface_relaxivity`,
                `points`, `q`, `samples`.

        Every input is a number, an array or a tensor, replicated; any subset of tensors may require a gradient, or
        carry a tangent of forward-mode differentiation, and only what is asked for is computed.

        Returns:
            (n,) complex128, um^3, replicated, on the device of the first tensor.

        Raises:
            InputError: An input is unknown, out of range or of the wrong shape.
            ConvergenceError: The tolerance cannot be met.

        Collective; so are the backward pass and the tangent.
        """
        samples = others.pop("samples", None)
        named: dict[str, Any] = {"permeability": permeability, **others}
        if isinstance(samples, Mapping):
            named |= {f"samples {number}": value for number, value in samples.items()}
        elif samples is not None:
            named["samples"] = samples
        named = {name: value for name, value in named.items() if value is not None}
        devices = [value.device for value in named.values() if isinstance(value, torch.Tensor)]
        tensors = [torch.as_tensor(value, dtype=torch.float64, device="cpu") for value in named.values()]
        keep = any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)
        signal: torch.Tensor = _Signal.apply(self, rows, keep, tuple(named), *tensors)
        return signal.to(devices[0]) if devices else signal


class SignalLayer(torch.nn.Module):
    """A simulator as a layer: what is learned are its parameters, what is fixed its buffers, so `state_dict` has both.

    Args:
        simulator: The simulator.
        **inputs: Inputs of `Simulator.__call__`: those given as `torch.nn.Parameter` are learned, others fixed.

    Raises:
        InputError: An input is unknown.
    """

    def __init__(self, simulator: Simulator, **inputs: _Value) -> None:
        super().__init__()
        self.simulator = simulator
        self._names = tuple(inputs)
        for name, value in inputs.items():
            check_name(name)
            if isinstance(value, torch.nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).detach().clone())

    def forward(self, rows: ArrayLike | None = None, **others: _Value) -> torch.Tensor:
        """Signals; inputs given here come before those of the layer. See `Simulator.__call__`. Collective."""
        held = {name: getattr(self, name) for name in self._names}
        return self.simulator(rows=rows, **{**held, **others})


class _Signal(torch.autograd.Function):
    """All state of one call lives in its context, so that several graphs can be alive at once."""

    @staticmethod
    def forward(
        ctx: Any,
        simulator: Simulator,
        rows: ArrayLike | None,
        keep: bool,
        names: tuple[str, ...],
        *tensors: torch.Tensor,
    ) -> torch.Tensor:
        ctx.names, ctx.wanted = names, ctx.needs_input_grad[4:]
        values: dict[str, Any] = {}
        for name, tensor in zip(names, tensors, strict=True):
            if name.startswith("samples "):
                values.setdefault("samples", {})[int(name.split()[1])] = _array(tensor)
            else:
                values[name] = _array(tensor)
        signal, tape = simulator.signal(rows=rows, keep=keep or any(ctx.wanted), **values)
        ctx.tape = tape
        ctx.save_for_backward(*tensors)  # so that torch tells when one was changed in place
        return torch.from_numpy(signal)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, cotangent: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        _ = ctx.saved_tensors  # torch's error where one of them was changed in place
        wanted = [name for name, needed in zip(ctx.names, ctx.wanted, strict=True) if needed]
        gradients = ctx.tape.pull_back(_array(cotangent), wanted)
        found = (torch.from_numpy(gradients[name]) if name in gradients else None for name in ctx.names)
        return None, None, None, None, *found

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor | None) -> torch.Tensor:
        directions = {
            name: _array(tangent) for name, tangent in zip(ctx.names, tangents[4:], strict=True) if tangent is not None
        }
        return torch.from_numpy(ctx.tape.push_forward(directions))


def _array(tensor: torch.Tensor) -> FloatArray:
    return np.asarray(tensor.detach().cpu().numpy())
