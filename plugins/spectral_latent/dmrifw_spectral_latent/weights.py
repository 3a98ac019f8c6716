"""Trained autoencoders as safetensors files, which hold numbers and text and never code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dmrifw.errors import InputError
from dmrifw_spectral_latent.families import FAMILIES
from dmrifw_spectral_latent.network import Architecture, SpectralAutoencoder
from dmrifw_spectral_latent.template import Template

FORMAT = "dmrifw-spectral-latent-1"

SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class Model:
    """A trained autoencoder and what it was trained on.

    Attributes:
        network: The autoencoder, float64, its weights frozen.
        family: Name of the family.
        template: `Template.digest` of the template.
        facts: What else its maker wrote down: seed, sizes, held-out errors.
    """

    network: SpectralAutoencoder
    family: str
    template: str
    facts: dict[str, float]

    def require(self, template: Template) -> None:
        """Refuse another template than that of the training.

        Raises:
            InputError: It is another one.

        Local.
        """
        if template.digest != self.template:
            raise InputError(
                f"the mesh of {len(template.points)} vertices is not the template that the weights were trained on",
                "use that template as the geometry, or train on this one with dmrifw train",
                key="model",
            )


def save(path: Path, network: SpectralAutoencoder, family: str, template: Template, facts: dict[str, float]) -> None:
    """Write an autoencoder, float32. Local; call it on one rank."""
    tensors = {name: value.detach().float().contiguous() for name, value in network.state_dict().items()}
    # One entry: safetensors does not keep the order of several, and the file should depend on its content alone.
    description = {
        "format": FORMAT,
        "family": family,
        "template": template.digest,
        "architecture": asdict(network.architecture),
        "facts": facts,
    }
    save_file(tensors, path, metadata={"dmrifw": json.dumps(description, sort_keys=True)})


def load(model: str, folder: Path = Path()) -> Model:
    """A shipped model by its family's name, or one in a file.

    Args:
        model: "bending", "beading", "fanning", "joint", or the path of a .safetensors file.
        folder: What that path is relative to.

    Returns:
        The model.

    Raises:
        InputError: There is no such model, or the file is not one.

    Local.
    """
    if not model.endswith(SUFFIX):
        if model not in FAMILIES:
            raise InputError(
                f"there is no model {model!r}",
                f"choose one of {', '.join(FAMILIES)}, or give a {SUFFIX} file",
                key="model",
            )
        with as_file(files(__package__).joinpath("weights", model + SUFFIX)) as path:
            return _read(path)
    return _read(folder / model)


def _read(path: Path) -> Model:
    if not path.is_file():
        raise InputError("there is no such file", "make it with dmrifw train", key="model", file=path)
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})["dmrifw"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if description["format"] != FORMAT:
            raise KeyError(description["format"])
        sizes: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in description["architecture"].items()
        }
        network = SpectralAutoencoder(Architecture(**sizes))
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"this is not a model of this version ({error})", "make it with dmrifw train", key="model", file=path
        ) from error
    network = network.to(torch.float64).requires_grad_(False).eval()
    return Model(network, description["family"], description["template"], description["facts"])
