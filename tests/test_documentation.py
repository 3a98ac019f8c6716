"""What a newcomer reads is true: examples run, commands and files exist, pages keep up with the code."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from dmrifw import plugins
from dmrifw.cli.app import app, run

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md"), *ROOT.glob("meshes/*.md")]
)
README = (ROOT / "README.md").read_text()


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The words of each command line in a page's shell blocks and in its `./env ...` inlines."""
    lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
    lines += re.findall(r"`(\./env [^`]+)`", prose(text))
    words = [shlex.split(line, comments=True) for line in lines]
    return [one for one in words if one]


@pytest.mark.parametrize("demo", sorted(ROOT.glob("docs/demos/*.py")), ids=name)
def test_every_demo_runs_and_its_assertions_hold(demo: Path) -> None:
    runpy.run_path(str(demo), run_name="__main__")


def test_the_example_of_the_readme_is_the_one_that_runs() -> None:
    assert blocks(README, "python") == [(ROOT / "docs/demos/first_signal.py").read_text()]


def test_the_example_of_the_geometry_page_runs() -> None:
    (example,) = blocks((ROOT / "docs/geometry.md").read_text(), "python")
    exec(compile(example, "geometry.md", "exec"), {})


def test_the_example_of_the_shapes_page_runs() -> None:
    (example,) = blocks((ROOT / "docs/shapes.md").read_text(), "python")
    exec(compile(example, "shapes.md", "exec"), {})


def test_how_the_built_in_plugins_were_written_is_true() -> None:
    page = (ROOT / "docs/plugins.md").read_text()
    told = page[page.index("## How two of the built-in ones were written") : page.index("## In a notebook")]
    exec(compile("\n".join(blocks(told, "python")), "plugins.md", "exec"), {"__name__": "plugins_page"})


def test_the_example_of_the_gradients_page_runs() -> None:
    (example,) = blocks((ROOT / "docs/gradients.md").read_text(), "python")
    exec(compile(example, "gradients.md", "exec"), {})


def test_the_config_of_the_readme_is_good_for_an_inversion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config,) = blocks(README, "toml")
    (tmp_path / "sphere.toml").write_text(config)
    assert run(["check", str(tmp_path / "sphere.toml")]) == 0
    assert "dmrifw invert" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index, page.name


@pytest.mark.parametrize("page", [page for page in PAGES if "./env" in page.read_text()], ids=name)
def test_commands_exist(page: Path) -> None:
    """Launcher options, programs, subcommands, their options, and the repository's files that commands name."""
    manual = subprocess.run([ROOT / "env", "--help"], capture_output=True, text=True, check=True).stdout
    for words in commands(page.read_text()):
        if words[0] != "./env":
            continue
        rest = words[1:]
        while rest and rest[0].startswith("-"):
            assert rest.pop(0) in manual, words
        if rest and not rest[0].isupper():
            assert shutil.which(rest[0]), words
        if rest[:1] == ["dmrifw"] and len(rest) > 1 and not rest[1].isupper():
            assert_command_line(rest[1:])
        for word in rest:
            if re.match(r"(docs|dmrifw|plugins|tests)/", word):
                assert (ROOT / word).exists(), words


def assert_command_line(words: list[str]) -> None:
    """The subcommand exists, and so do the options that it is given."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, words
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        assert not word.startswith("-") or word in options, (command.name, word)


def test_paths_in_the_readme_exist() -> None:
    """The folder listing, and everything that other commands name."""
    (listing,) = blocks(README, "text")
    for line in listing.splitlines():
        assert (ROOT / line.split()[0]).exists(), line
    for words in commands(README):
        for word in words:
            assert not word.endswith(".yml") or (ROOT / word).exists(), words


def test_names_in_the_architecture_page_exist() -> None:
    """A row of a table that begins with a file's path names what stands in that file."""
    rows = re.findall(r"^\| \[?`([\w./]+\.py)`.*$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    assert len(rows) > 10
    for row in re.findall(r"^\| .*$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE):
        path, *others = re.findall(r"`([^`]+)`", row.split("|")[1] + row.split("|")[2]) or [""]
        if path.endswith(".py"):
            source = (ROOT / path).read_text()
            for other in others:
                for part in other.split("."):
                    assert re.search(rf"\b{part}\b", source), (path, other)


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture
def my_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of docs/plugins.md, installed as pip does: a folder on the path, and a record of its entry points."""
    page = (ROOT / "docs/plugins.md").read_text()
    for path, text in re.findall(r"^`(my_plugin/[\w.]+)`:\n\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    folder = tmp_path / "my_plugin"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    record = folder / "my_plugin-0.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{key} = {value}" for key, value in project["entry-points"]["dmrifw"].items()]
    (record / "entry_points.txt").write_text("\n".join(["[dmrifw]", *lines, ""]))
    monkeypatch.syspath_prepend(folder)
    plugins._manager.cache_clear()
    yield folder
    plugins._manager.cache_clear()
    for module in ("my_plugin", "test_my_plugin"):
        sys.modules.pop(module, None)


def test_the_plugin_of_the_documentation_is_found(my_plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugins"]) == 0
    printed = capsys.readouterr().out
    for offer in ("my_plugin", "ball", "few-walls", "taking-turns"):
        assert offer in printed


def test_the_plugin_of_the_documentation_passes_its_tests(my_plugin: Path) -> None:
    module = importlib.import_module("test_my_plugin")
    tests = [value for key, value in vars(module).items() if key.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


def test_the_plugin_of_the_documentation_inverts(my_plugin: Path, tmp_path: Path) -> None:
    """The wall is a rhombic dodecahedron: its 24 faces have their centres at sqrt(5)/3 of a lattice cell: one ball."""
    assert run(["invert", str(my_plugin / "config.toml"), "-o", str(tmp_path / "ball")]) == 0
    metrics = json.loads((tmp_path / "ball" / "metrics.json").read_text())
    assert metrics["barrier_recall"] == metrics["barrier_precision"] == 1.0
    assert metrics["loss_final"] < 0.5 * metrics["loss_initial"]
