"""`[inversion]`: the models of what is unknown, of the target, and of how to search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from dmrifw.cli.experiment import Tissue
from dmrifw.cli.fields import Positive, Section, Voxel
from dmrifw.cli.geometry import Geometry
from dmrifw.errors import InputError


class Adam(Section):
    """`[inversion.adam]`: the steps of this optimizer."""

    learning_rate: Positive = 0.6


class GaussNewton(Section):
    """`[inversion.gauss-newton]`: the steps of this optimizer."""

    damping: Positive = 1e-2
    smallest_damping: Positive = 1e-9
    largest_damping: Positive = 1e6
    poor_ratio: Positive = 0.25
    good_ratio: Positive = 0.75
    inner_iterations: Annotated[int, Field(ge=1)] = 30
    tolerance: Positive = 1e-4


class Lbfgs(Section):
    """`[inversion.l-bfgs]`: the steps of this optimizer."""

    memory: Annotated[int, Field(ge=1)] = 10
    first_step: Positive = 0.6
    tolerance: Positive = 1e-7


BUILT_IN_OPTIMIZERS = ("adam", "gauss-newton", "l-bfgs")
"""Those that no plugin offers; the loss of each is a sum of data term and priors."""


class Restarts(Section):
    """`[inversion.restarts]`: further starts of a search that may end in another minimum."""

    count: Annotated[int, Field(ge=0)] = 0
    jitter: Positive = 0.5
    enough: Positive = 1e-4


class WithTables(Section):
    """A table in which further tables belong to plugins."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def takes_extra(cls, value: Any) -> bool:
        """A table may be a plugin's. Local."""
        return isinstance(value, dict)

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The plugins' own tables, by plugin name."""
        return dict(self.model_extra or {})


class Target(WithTables):
    """`[inversion.target]`: the signals to explain, from a file, from an image, or simulated; and noise on them.

    Further tables belong to the parametrization that tells the truth.
    """

    path: str | None = None
    image: str | None = None
    voxel: Voxel | None = None
    mask: str | None = None
    geometry: Geometry | None = None
    parametrization: str | None = None
    tissue: Tissue | None = None
    tolerance: Annotated[Positive, Field(lt=1)] | None = None
    unit: Literal["um^3", "arbitrary"] | None = None
    snr: Positive | None = None
    noise: Literal["gaussian", "rician"] = "gaussian"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _one_source(self) -> Target:
        sources = [key for key in _SOURCES if getattr(self, key) is not None]
        if len(sources) > 1:
            raise InputError(f"{' and '.join(sources)} given", f"give one of {', '.join(_SOURCES)}", key=sources[1])
        for key, owners in _OWNERS.items():
            if getattr(self, key) is not None and not set(owners) & set(sources):
                raise InputError(f"it belongs to {owners[0]}, which is not given", f"give {owners[0]} too", key=key)
        for name in self.tables:
            if name != self.parametrization:
                raise InputError("the table belongs to no plugin in use", "name it in parametrization", key=name)
        if self.image is not None and (self.voxel is None) == (self.mask is None):
            raise InputError("an image needs either voxel or mask", "give one: [i, j, k], or a file", key="voxel")
        for key in ("noise", "seed"):
            if key in self.model_fields_set and self.snr is None:
                raise InputError("there is no noise without snr", "give snr, or remove it", key=key)
        if self.snr is not None and self.image is not None:
            raise InputError("an image has noise of its own", "remove it", key="snr")
        return self

    @property
    def arbitrary_unit(self) -> bool:
        """Whether signals are known up to a factor only."""
        return (self.unit or ("um^3" if self.image is None else "arbitrary")) == "arbitrary"


_SOURCES = ("path", "image", "geometry", "parametrization")

_OWNERS = {
    "voxel": ("image",),
    "mask": ("image",),
    "tissue": ("geometry",),
    "tolerance": ("geometry", "parametrization"),
}
"""Keys that make sense beside some sources only."""


def _file_or_table(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _count_or_table(value: Any) -> Any:
    return {"count": value} if isinstance(value, int) else value


class Inversion(WithTables):
    """`[inversion]`: what is unknown, what is believed, and how to search. Further tables belong to the plugins."""

    parametrization: str = "cell-labels"
    priors: list[str] = Field(default=["continuity", "soft-manifold"])
    schedule: str = "staged"
    gradient_rules: list[str] = Field(default=["clip"])
    optimizer: str = "label-search"
    adam: Adam = Adam()
    gauss_newton: GaussNewton = Field(default=GaussNewton(), alias="gauss-newton")
    l_bfgs: Lbfgs = Field(default=Lbfgs(), alias="l-bfgs")
    iterations: Annotated[int, Field(ge=1)] = 300
    restarts: Annotated[Restarts, BeforeValidator(_count_or_table)] = Restarts()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    target: Annotated[Target, BeforeValidator(_file_or_table)] = Target()
    magnitude: bool = True
    likelihood: Literal["squared", "gaussian", "rician"] = "squared"
    sigma: Positive | None = None
    data_weight: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_optimizer(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        labels = table.get("parametrization", "cell-labels") == "cell-labels"
        table = {"optimizer": "label-search" if labels else "adam"} | table
        used = table["optimizer"]
        for name in BUILT_IN_OPTIMIZERS:
            if name in table and name != used:
                raise InputError("the table belongs to another optimizer", f'set optimizer = "{name}"', key=name)
        if used not in BUILT_IN_OPTIMIZERS:
            return {"priors": [], "schedule": "all-at-once", "gradient_rules": [], "iterations": 100} | table
        if used == "adam":
            return table
        if table.get("gradient_rules"):
            raise InputError(f"{used!r} follows no gradient rules", "leave them out", key="gradient_rules")
        return table | {"gradient_rules": []}

    @model_validator(mode="after")
    def _sound_noise(self) -> Inversion:
        if self.likelihood == "rician" and not self.magnitude:
            raise InputError(
                "only magnitudes are Rician", 'choose "gaussian", or set magnitude = true', key="likelihood"
            )
        if self.sigma is not None and self.likelihood == "squared":
            raise InputError("squared differences know no noise", "choose a likelihood, or remove it", key="sigma")
        noiseless = self.target.path is None and self.target.image is None and self.target.snr is None
        if self.likelihood != "squared" and self.sigma is None and noiseless:
            raise InputError(
                "the target is simulated without noise, so it tells none", "give sigma, or target.snr", key="sigma"
            )
        return self
