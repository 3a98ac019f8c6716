"""The page of a run: everything about it in one HTML file that needs nothing else, no network and no script."""

from __future__ import annotations

import base64
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dmrifw.surface import replacing


@dataclass(frozen=True)
class Fact:
    """A number that matters, and in a few words what it is."""

    value: str
    meaning: str


@dataclass(frozen=True)
class Figure:
    """A picture with a caption.

    Attributes:
        title: Headline.
        caption: What is to be seen.
        svg: An <svg> element; or
        png: PNGs, or GIFs, that stand side by side, by what they show.
    """

    title: str
    caption: str
    svg: str = ""
    png: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """A key of the config with its value, and whether the file gives it."""

    key: str
    value: str
    is_given: bool


@dataclass(frozen=True)
class Page:
    """What the page of a run shows, in its order.

    Attributes:
        title: Headline.
        summary: What was done, a sentence each.
        facts: The numbers that matter most.
        figures: Pictures.
        metrics: All numbers by name.
        seconds: How long each part took, by what it was.
        settings: The whole config, defaults included.
        config: The text of the config's file.
        versions: Of the software, by package.
        notes: What went wrong on the way, if anything.
    """

    title: str
    summary: Sequence[str]
    facts: Sequence[Fact]
    figures: Sequence[Figure]
    metrics: Mapping[str, str]
    seconds: Mapping[str, float]
    settings: Sequence[Setting]
    config: str
    versions: Mapping[str, str]
    notes: Sequence[str] = ()


def write_page(path: str | Path, page: Page) -> None:
    """Write a page; replaces an older one in one step.

    Args:
        path: Where; the suffix should be .html.
        page: What it shows. All text is escaped; `svg` is not, so it must come from a figure.

    Local; call it on one rank.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["image_kind"] = lambda content: "gif" if content.startswith(b"GIF") else "png"
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    total = sum(page.seconds.values())
    machine = f"{platform.system()} on {platform.machine()}"
    text = environment.get_template("page.html.j2").render(page=page, total=total, machine=machine)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
