"""The spectral autoencoder with learned pooling: spectral coefficients in a few numbers and back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

_FIRST_LOG_VARIANCE = -4.0
"""Logarithm of the variance at the start of a variational training, beside a spread of the means of 1."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of an autoencoder.

    Attributes:
        frequencies: Number of spectral coefficients of each coordinate.
        latent: Number of latent numbers.
        channels: Channels after each round.
        pooled: Frequencies after each round.
        variational: Whether the encoder gives a variance beside the mean.
    """

    frequencies: int
    latent: int = 16
    channels: tuple[int, ...] = (16, 32, 64)
    pooled: tuple[int, ...] = (64, 32, 16)
    variational: bool = False


class SpectralAutoencoder(nn.Module):
    """Encoder and decoder, each a fixed linear path plus a network that adds what is not linear.

    The linear path is that of the principal components, scaled so that the latent numbers of the training shapes have
    unit variance. The encoder's network runs rounds of [convolution over frequencies, kernel 3; ELU; a learned matrix
    that pools the frequencies] and a linear map; the decoder mirrors it. Both networks begin at zero, so training
    starts at the principal components.

    Args:
        architecture: The sizes.

    Source: Lemeunier et al. 2022 (spectral autoencoder with learned pooling); ReMiDi, arXiv 2502.01988 (sizes). The
    linear path is ours.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    components: torch.Tensor
    deviations: torch.Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = one = architecture
        channels, pooled = (3, *one.channels), (one.frequencies, *one.pooled)
        self.register_buffer("mean", torch.zeros(one.frequencies, 3))
        self.register_buffer("scale", torch.ones(one.frequencies, 1))
        self.register_buffer("components", torch.zeros(3 * one.frequencies, one.latent))
        self.register_buffer("deviations", torch.ones(one.latent))
        down = zip(pairwise(channels), pairwise(pooled), strict=True)
        self.down = nn.ModuleList(_Round(*ends, *sizes) for ends, sizes in down)
        up = zip(pairwise(channels[::-1]), pairwise(pooled[::-1]), strict=True)
        self.up = nn.ModuleList(_Round(*ends, *sizes, pool_first=True) for ends, sizes in up)
        self.narrow = nn.Linear(channels[-1] * pooled[-1], one.latent * (2 if one.variational else 1))
        self.widen = nn.Linear(one.latent, channels[-1] * pooled[-1])
        self.last = nn.Conv1d(channels[0], 3, 3, padding=1)
        for parameter in (*self.narrow.parameters(), *self.last.parameters()):
            nn.init.zeros_(parameter)
        if one.variational:
            nn.init.constant_(self.narrow.bias[one.latent :], _FIRST_LOG_VARIANCE)

    @torch.no_grad()
    def fit_linear_path(self, coefficients: torch.Tensor) -> None:
        """Set mean, scales and principal components from training shapes, (N, K, 3) um. Local."""
        centred = coefficients - coefficients.mean(dim=0)
        spread = centred.square().mean(dim=(0, 2)).sqrt()
        _, singular, components = torch.linalg.svd(centred.flatten(1), full_matrices=False)
        components = components[: self.architecture.latent].T
        components = components * torch.where(components.pow(3).sum(dim=0) < 0, -1.0, 1.0)
        deviations = singular[: self.architecture.latent] / len(coefficients) ** 0.5
        self.mean.copy_(coefficients.mean(dim=0))
        # Frequencies that hardly move are not blown up to the size of those that do.
        self.scale.copy_((spread + 0.05 * spread.max())[:, None])
        self.components.copy_(components)
        self.deviations.copy_(deviations.clamp(min=1e-3 * float(deviations.max())))

    def encode(self, coefficients: torch.Tensor) -> torch.Tensor:
        """The latent numbers, (..., L), of spectral coefficients, (..., K, 3) um; the mean where variational. Local."""
        return self.distribution(coefficients)[0]

    def distribution(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance of the latent numbers, each (..., L); the latter -inf where not variational. Local."""
        centred = coefficients - self.mean
        linear = centred.flatten(-2) @ self.components / self.deviations
        values = (centred / self.scale).reshape(-1, *centred.shape[-2:]).transpose(1, 2)
        for layer in self.down:
            values = layer(values)
        values = self.narrow(values.flatten(1)).reshape(*linear.shape[:-1], -1)
        if not self.architecture.variational:
            return linear + values, torch.full_like(linear, -torch.inf)
        shift, log_variance = values.chunk(2, dim=-1)
        return linear + shift, log_variance

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Spectral coefficients, (..., K, 3) um, of latent numbers, (..., L). Local."""
        linear = ((latent * self.deviations) @ self.components.T).unflatten(-1, self.mean.shape)
        one = self.architecture
        values = self.widen(latent.reshape(-1, one.latent)).unflatten(-1, (one.channels[-1], one.pooled[-1]))
        for layer in self.up:
            values = layer(values)
        values = self.last(values).transpose(1, 2).reshape(linear.shape)
        return self.mean + linear + self.scale * values


class _Round(nn.Module):
    """Convolution over frequencies, ELU, and a learned matrix from some frequencies to others."""

    def __init__(self, before: int, after: int, wide: int, narrow: int, pool_first: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(before, after, 3, padding=1)
        self.pooling = nn.Linear(wide, narrow, bias=False)
        self.pool_first = pool_first

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(B, after, narrow) from (B, before, wide)."""
        if self.pool_first:
            return nn.functional.elu(self.convolution(self.pooling(values)))
        return self.pooling(nn.functional.elu(self.convolution(values)))
