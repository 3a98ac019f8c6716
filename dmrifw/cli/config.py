"""The config file: one pydantic model per table, read from TOML, with every fault told in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from dmrifw.cli.faults import first_fault
from dmrifw.cli.fields import (
    BValues,
    Densities,
    Diffusivities,
    Directions,
    OneOrMore,
    Permeabilities,
    Permeability,
    Positive,
    RelaxationTimes,
    Relaxivities,
    Section,
    Time,
    Voxel,
    nearest,
)
from dmrifw.cli.geometry import FileGeometry, Geometry
from dmrifw.errors import InputError
from dmrifw.sequences import parameters
from dmrifw.typing import Degree, Exterior, Method

T = TypeVar("T", bound=Section)


class Tissue(Section):
    """`[tissue]`: what the compartments and the walls are made of."""

    diffusivity: Diffusivities = 2.0
    T2: RelaxationTimes = float("inf")
    density: Densities = 1.0
    permeability: Permeabilities | None = None
    barrier_permeability: Permeability = 0.01
    open_permeability: Permeability = 100.0
    surface_relaxivity: Relaxivities = 0.0
    exterior: Exterior = "reflecting"


class Shell(Section):
    """One entry of `[[protocol.shell]]`: every b-value along every direction. Further keys belong to the waveform."""

    model_config = ConfigDict(extra="allow")

    waveform: str = "pgse"
    b: BValues
    directions: Directions

    @classmethod
    def takes_extra(cls, value: Any) -> bool:
        """Any value may be a waveform's. Local."""
        return True

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_parameters(cls, table: Any) -> Any:
        name = table.get("waveform", "pgse") if isinstance(table, dict) else None
        if isinstance(name, str):
            known = {*cls.model_fields, *parameters(name), *(["file"] if name == "sampled" else [])}
            for key in table:
                if key not in known:
                    raise InputError("there is no such key", nearest(key, known), key=key)
        return table

    @property
    def parameters(self) -> dict[str, Any]:
        """What the waveform takes, as it stands in the file."""
        return dict(self.model_extra or {})


class ProtocolSection(Section):
    """`[protocol]`: a preset, a file, a gradient table in two files, or shells."""

    preset: str | None = None
    path: str | None = None
    bvals: str | None = None
    bvecs: str | None = None
    delta: Time | None = None
    Delta: Time | None = None
    sidecar: str | None = None
    image: str | None = None
    shell: Annotated[list[Shell], OneOrMore, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ProtocolSection:
        given = [key for key in type(self).model_fields if getattr(self, key) is not None]
        source = next((key for key in ("preset", "shell", "path", "bvals", "bvecs") if key in given), None)
        fitting = {"path": ["path", *_TIMING], "bvals": ["bvals", "bvecs", *_TIMING]}.get(source or "", [source])
        if source is None or not set(given) <= set(fitting):
            raise InputError(
                f"{', '.join(given) or 'nothing'} given",
                "give one of: preset; path; bvals and bvecs; [[protocol.shell]] tables",
            )
        if source == "bvals":
            needed = ["bvals", "bvecs", *([] if self.sidecar else ["delta", "Delta"])]
            for key in needed:
                if key not in given:
                    mend = "a gradient table needs bvals, bvecs, and delta and Delta or a sidecar"
                    raise InputError("the key is missing", mend, key=key)
        return self


_TIMING = ("delta", "Delta", "sidecar", "image")


class Solver(Section):
    """`[solver]`: how the Bloch-Torrey equation is solved."""

    method: Method = "automatic"
    degree: Degree | None = None
    tolerance: Annotated[Positive, Field(lt=1)] | None = None
    gradient_tolerance: Annotated[Positive, Field(lt=1)] | None = None


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


class Target(Section):
    """`[inversion.target]`: the signals to explain, from a file, from an image, or simulated; and noise on them."""

    path: str | None = None
    image: str | None = None
    voxel: Voxel | None = None
    mask: str | None = None
    geometry: Geometry | None = None
    tissue: Tissue | None = None
    tolerance: Annotated[Positive, Field(lt=1)] | None = None
    unit: Literal["um^3", "arbitrary"] | None = None
    snr: Positive | None = None
    noise: Literal["gaussian", "rician"] = "gaussian"
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_source(self) -> Target:
        sources = [key for key in ("path", "image", "geometry") if getattr(self, key) is not None]
        if len(sources) > 1:
            raise InputError(f"{' and '.join(sources)} given", "give one of path, image or geometry", key=sources[1])
        for source, keys in {"image": ("voxel", "mask"), "geometry": ("tissue", "tolerance")}.items():
            for key in keys:
                if getattr(self, key) is not None and source not in sources:
                    raise InputError(f"it belongs to {source}, which is not given", f"give {source} too", key=key)
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


def _file_or_table(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class Inversion(Section):
    """`[inversion]`: what is unknown, what is believed, and how to search. Further tables belong to the plugins."""

    model_config = ConfigDict(extra="allow")

    parametrization: str = "face-permeability"
    priors: list[str] = Field(default=["continuity", "soft-manifold"])
    schedule: str = "staged"
    gradient_rules: list[str] = Field(default=["clip"])
    optimizer: Literal["adam", "gauss-newton"] = "adam"
    adam: Adam = Adam()
    gauss_newton: GaussNewton = Field(default=GaussNewton(), alias="gauss-newton")
    iterations: Annotated[int, Field(ge=1)] = 300
    seed: Annotated[int, Field(ge=0)] = 0
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
        used = table.get("optimizer", "adam")
        for name in ("adam", "gauss-newton"):
            if name in table and name != used:
                raise InputError("the table belongs to another optimizer", f'set optimizer = "{name}"', key=name)
        if used != "gauss-newton":
            return table
        if table.get("gradient_rules"):
            raise InputError("Gauss-Newton steps follow no gradient rules", "leave them out", key="gradient_rules")
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

    @classmethod
    def takes_extra(cls, value: Any) -> bool:
        """A table may be a plugin's. Local."""
        return isinstance(value, dict)

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The plugins' own tables, by plugin name."""
        return dict(self.model_extra or {})


class Config(Section):
    """A whole config file."""

    geometry: Geometry
    tissue: Tissue = Tissue()
    protocol: ProtocolSection
    solver: Solver = Solver()
    inversion: Inversion | None = None

    _path: Path = PrivateAttr()
    _text: str = PrivateAttr()

    @model_validator(mode="after")
    def _any_face_may_be_found(self) -> Config:
        """An inversion asks which faces of a mesh are walls, unless the config says that it is told."""
        if self.inversion is None or not isinstance(self.geometry, FileGeometry) or self.geometry.ambient is not None:
            return self
        return self.model_copy(update={"geometry": self.geometry.model_copy(update={"ambient": True})})

    @property
    def path(self) -> Path:
        """The file that this config was read from; paths in it are relative to its folder."""
        return self._path

    @property
    def text(self) -> str:
        """The file's text."""
        return self._text


def load(path: Path) -> Config:
    """The config in a TOML file.

    Args:
        path: The file.

    Returns:
        The config, its values checked one by one; whether they fit together shows when things are built from it.

    Raises:
        InputError: The file cannot be read, is not TOML, or a key is unknown, missing, or has a bad value.

    Local.
    """
    return parse_text(read_text(path), path)


def read_text(path: Path) -> str:
    """The text of a config file.

    Raises:
        InputError: The file cannot be read.

    Local.
    """
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise InputError("there is no such file", "give the path of a TOML config", file=path) from error
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", "save it as UTF-8", file=path) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", "give a readable TOML config", file=path) from error


def parse_text(text: str, path: Path) -> Config:
    """The config in a text; `path` is where faults are said to be, and what paths in it are relative to. Local."""
    return validated(parse_table(text, path), text, path)


def parse_table(text: str, path: Path) -> dict[str, Any]:
    """The table in a text; InputError where it is not TOML. Local."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", "mend the syntax there", file=path) from error


def validated(table: dict[str, Any], text: str, path: Path) -> Config:
    """The config in a table that was parsed from a text. Local."""
    config = checked(Config, table, path)
    config._path, config._text = path, text
    return config


def checked(kind: type[T], table: dict[str, Any], path: Path) -> T:
    """A table as what it should be; InputError that names its first fault where it is not. Local."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise first_fault(error, table, path) from error
