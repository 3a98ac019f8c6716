"""`[tissue]`, `[protocol]` and `[solver]`: the models of what is measured, in what, and how that is solved."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from dmrifw.cli.fields import (
    BValue,
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
    nearest,
)
from dmrifw.errors import InputError
from dmrifw.sequences import parameters
from dmrifw.typing import Degree, Exterior, Method


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
    b0_threshold: BValue | None = None
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


_TIMING = ("delta", "Delta", "sidecar", "image", "b0_threshold")


class Solver(Section):
    """`[solver]`: how the Bloch-Torrey equation is solved."""

    method: Method = "automatic"
    degree: Degree | None = None
    tolerance: Annotated[Positive, Field(lt=1)] | None = None
    gradient_tolerance: Annotated[Positive, Field(lt=1)] | None = None
