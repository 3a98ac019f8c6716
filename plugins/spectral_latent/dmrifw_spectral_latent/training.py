"""How the autoencoders are trained: `dmrifw train`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pydantic
import torch

from dmrifw.mesh import write_grid
from dmrifw.plugins import NonNegative, Positive
from dmrifw.trainers import TrainingSetting
from dmrifw_spectral_latent.dataset import FLOOR, Dataset, draw
from dmrifw_spectral_latent.families import family_named
from dmrifw_spectral_latent.network import Architecture, SpectralAutoencoder
from dmrifw_spectral_latent.template import AXIAL_H, H, Template
from dmrifw_spectral_latent.weights import SUFFIX, load, save

AtLeastOne = Annotated[int, pydantic.Field(ge=1)]

_WARM_UP = 0.05
"""Share of the steps in which the learning rate rises to its full size; it then falls on a half cosine to 0."""

_CLIP = 1.0


class AutoencoderTrainer:
    """Trains a spectral autoencoder on shapes of a family; a round goes once through all of them.

    The loss is the mean squared distance of vertices, um^2 (that of the coefficients, as the basis is orthonormal), and
    for a variational one `variational` times the Kullback-Leibler distance of its latent from the unit normal.

    Args:
        setting: Gives the seed of shapes, weights and order.
        family: "bending", "beading", "fanning" or "joint".
        latent: Number of latent numbers.
        samples: Number of shapes to learn from.
        held_out: Number of shapes to judge by.
        rounds: How often to go through the shapes.
        batch: Shapes per step.
        learning_rate: Greatest learning rate of Adam.
        variational: Weight of the Kullback-Leibler term; 0 for a plain autoencoder.
        floor: Least scaled Jacobian of the shapes.
        h: Edge length of the template across its axis, um.
        axial_h: Largest spacing of its vertices along the axis, um. With the defaults it is the shipped template.

    Local.
    """

    def __init__(
        self,
        setting: TrainingSetting,
        *,
        family: str = "joint",
        latent: AtLeastOne = 16,
        samples: Annotated[int, pydantic.Field(ge=64)] = 4096,
        held_out: AtLeastOne = 1000,
        rounds: AtLeastOne = 60,
        batch: AtLeastOne = 32,
        learning_rate: Positive = 1e-3,
        variational: NonNegative = 0.0,
        floor: Positive = FLOOR,
        h: Positive = H,
        axial_h: Positive = AXIAL_H,
    ) -> None:
        self.seed, self.rounds, self.batch = setting.seed, rounds, batch
        self.family = family_named(family)
        self.samples, self.held_out, self.floor = samples, held_out, floor
        self.learning_rate, self.variational = learning_rate, variational
        self.template = Template.shipped() if (h, axial_h) == (H, AXIAL_H) else Template.cylinder(h, axial_h)
        sizes = Architecture(len(self.template.points), latent, variational=variational > 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            self.network = SpectralAutoencoder(sizes)
        self.optimizer = torch.optim.Adam(self.network.parameters(), learning_rate)

    @cached_property
    def shapes(self) -> Dataset:
        """The shapes to learn from, and after them those to judge by."""
        return draw(self.family, self.template, self.samples + self.held_out, self.seed, self.floor)

    @cached_property
    def coefficients(self) -> torch.Tensor:
        """(samples + held_out, K, 3) their spectral coefficients, um, float32."""
        return self.template.encode(self.shapes.points).float()

    def train(self, number: int) -> Mapping[str, float]:
        """Go once through the shapes: loss, um^2, RMSD of those held out, um, and the last learning rate. Local."""
        with _one_thread():
            learned, judged = self.coefficients.split([self.samples, self.held_out])
            if number == 0:
                self.network.fit_linear_path(learned)
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + number)
            batches = torch.randperm(self.samples, generator=generator).split(self.batch)
            total = 0.0
            for index, rows in enumerate(batches):
                rate = self._rate((number + index / len(batches)) / self.rounds)
                total += len(rows) * self._step(learned[rows], rate, generator)
            return {
                "loss": total / self.samples,
                "held_out_rmsd_um": float(self._errors(self.network, judged).mean()),
                "learning_rate": rate,
            }

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Weights and moments. Local."""
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave. Local."""
        weights, moments = {}, dict[int, dict[str, Any]]()
        for path, value in state_dict.items():
            branch, _, name = path.partition(".")
            if branch == "network":
                weights[name] = value
            else:
                index, _, name = name.partition(".")
                moments.setdefault(int(index), {})[name] = value
        self.network.load_state_dict(weights)
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})

    def write(self, folder: Path) -> dict[str, float]:
        """Write FAMILY.safetensors, and the template where it is not the shipped one; judge what was written. Local."""
        path = folder / (self.family.name + SUFFIX)
        judged = self.coefficients[self.samples :].double()
        facts: dict[str, float] = {
            "seed": self.seed,
            "samples": self.samples,
            "rounds": self.rounds,
            "rejected": self.shapes.rejected,
        }
        save(path, self.network, self.family.name, self.template, facts)
        errors = self._errors(load(str(path)).network, judged)
        figures = {
            "held_out_rmsd_um": float(errors.mean()),
            "held_out_rmsd_95_percent_um": float(errors.quantile(0.95)),
            "held_out_rmsd_largest_um": float(errors.max()),
            "linear_path_rmsd_um": float(self._linear_errors(judged).mean()),
        }
        save(path, self.network, self.family.name, self.template, facts | figures)
        if self.template.digest != Template.shipped().digest:
            write_grid(folder / "template.npz", self.template.grid())
        return {"rejected": facts["rejected"], **figures}

    def _rate(self, share: float) -> float:
        if share < _WARM_UP:
            return self.learning_rate * (0.01 + 0.99 * share / _WARM_UP)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (share - _WARM_UP) / (1.0 - _WARM_UP)))

    def _step(self, coefficients: torch.Tensor, rate: float, generator: torch.Generator) -> float:
        mean, log_variance = self.network.distribution(coefficients)
        divergence = torch.zeros(())
        if self.variational:
            divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=-1).mean()
            mean = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
        error = self._squares(self.network.decode(mean), coefficients).mean()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        (error + self.variational * divergence).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimizer.step()
        return float(error.detach())

    @torch.no_grad()
    def _errors(self, network: SpectralAutoencoder, coefficients: torch.Tensor) -> torch.Tensor:
        """(N,) vertex RMSD of each shape after encoding and decoding, um."""
        parts = coefficients.split(256)
        return torch.cat([self._squares(network.decode(network.encode(part)), part) for part in parts]).sqrt()

    def _linear_errors(self, coefficients: torch.Tensor) -> torch.Tensor:
        """The same for the principal components alone."""
        centred = (coefficients - self.network.mean).flatten(1)
        components = self.network.components.to(centred.dtype)
        return self._squares(centred @ components @ components.T, centred).sqrt()

    def _squares(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """(N,) mean over vertices of the squared distance, um^2, from coefficients: the basis is orthonormal."""
        return (first - second).square().flatten(1).sum(dim=1) / len(self.template.points)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch's sums in one order, that of one thread: the same numbers however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
