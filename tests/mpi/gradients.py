"""Run under mpirun: gradients by every input, both methods, with their Taylor rates and dot products, from rank 0."""

import sys

import numpy as np
import torch
from gradient_cases import COTANGENT, METHODS, Case, case
from mpi4py import MPI

from dmrifw.propagators.held_steps import HeldSteps
from dmrifw.propagators.steps import Steps
from dmrifw.verify import taylor_test


def results(made: Case) -> dict[str, np.ndarray]:
    """Signals, gradients by all inputs at once, rates and relative differences of products; the same on every rank."""
    simulator, comm = made.simulator, made.simulator.grid.comm
    signal, tape = simulator.signal(**made.x)
    gradients = tape.pull_back(COTANGENT)
    found = {"signal": signal, **{f"gradient {name}": gradient for name, gradient in gradients.items()}}
    for name, d in made.d.items():
        others = {key: value for key, value in made.x.items() if key != name}

        def f(t: torch.Tensor, name: str = name, others: dict = others) -> torch.Tensor:
            moved = torch.as_tensor(made.x[name]) + t * torch.as_tensor(made.d[name])
            return (torch.from_numpy(COTANGENT).conj() * simulator(**others, **{name: moved})).real.sum()

        slope = float((gradients[name] * d).sum())
        forward = float((COTANGENT.conj() * tape.push_forward({name: d})).real.sum())
        found[f"rate {name}"] = np.array(taylor_test(f, 0.0, 1.0, step=0.1, halvings=1).rate)
        found[f"products {name}"] = np.array(abs(slope - forward) / abs(slope))
    for everywhere in comm.allgather(found):
        assert all(np.array_equal(everywhere[key], found[key]) for key in found)
    return found


def main(output: str, space: str) -> None:
    """Both methods, on steps that are the same for any number of ranks."""
    HeldSteps.of = lambda *_: Steps(2.0, 1.0)
    HeldSteps.renewed = lambda *_: False
    found = {}
    for method in METHODS:
        found |= {f"{method} {key}": value for key, value in results(case(space, method)).items()}
    if MPI.COMM_WORLD.rank == 0:
        np.savez(output, ranks=MPI.COMM_WORLD.size, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
