"""`dmrifw mesh`: examine, mend and make meshes."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from dmrifw.cli.case import blame
from dmrifw.cli.config import load
from dmrifw.cli.parallel import is_first, together
from dmrifw.errors import InputError
from dmrifw.mesh import doctor, files
from dmrifw.mesh.gmsh_session import Arrays
from dmrifw.mesh.grid import from_arrays
from dmrifw.mesh.surfaces import TriangleSurface


def check(file: Path, *, fix: Path | None, console: Console) -> None:
    """Say what is wrong with a mesh file and where; with `fix`, write what could be mended safely there.

    Raises:
        InputError: The file has faults, and they were not all mended.

    Collective.
    """
    content, findings = together(lambda: _examined(file))
    console.print(_description(content), soft_wrap=True)
    _show(findings, console)
    if fix is not None and any(finding.safe for finding in findings):
        content, findings = together(lambda: _mended(content, fix))
        console.print(f"mended: {fix}", soft_wrap=True)
        _show(findings, console)
    faults = [finding for finding in findings if finding.kind == "fault"]
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(f"{faults[0].what}, {faults[0].where}{more}", faults[0].mend, file=file)
    console.print("no faults")


def make(config_file: Path, output: Path, *, console: Console) -> None:
    """Write the mesh of a config's [geometry].

    Raises:
        InputError: The config is at fault, or the suffix of the output is unknown.

    Collective.
    """
    config = together(lambda: load(config_file))
    with blame("geometry", config.path):
        grid = config.geometry.build(config.path.parent).grid
    together(lambda: files.write_grid(output, grid) if is_first() else None)
    sizes = f"{len(grid.points)} points, {len(grid.cells)} tetrahedra, {grid.compartment_count} compartments"
    console.print(f"{output}: {sizes}, {grid.interface_count} interfaces, {grid.volume:.6g} um^3", soft_wrap=True)


def _examined(file: Path) -> tuple[Arrays | TriangleSurface, list[doctor.Finding]]:
    if not file.is_file():
        raise InputError("there is no such file", "give the path of a mesh", file=file)
    content = files.read_file(file)
    if isinstance(content, TriangleSurface):
        return content, doctor.examine_surface(content)
    try:
        return content, doctor.examine_cells(doctor.checked(content))
    except InputError as error:
        raise error.located(file=file) from error


def _mended(content: Arrays | TriangleSurface, output: Path) -> tuple[Arrays | TriangleSurface, list[doctor.Finding]]:
    if isinstance(content, TriangleSurface):
        surface = doctor.mended_surface(content)
        if is_first():
            files.write_surface(output, surface)
        return surface, doctor.examine_surface(surface)
    mesh = doctor.mended_cells(content)
    findings = doctor.examine_cells(mesh)
    if is_first() and not any(finding.kind == "fault" for finding in findings):
        files.write_grid(output, from_arrays(mesh.points, mesh.cells, mesh.cell_tags))
    return mesh, findings


def _description(content: Arrays | TriangleSurface) -> str:
    low, high = content.points.min(axis=0), content.points.max(axis=0)
    box = " x ".join(f"{extent:.4g}" for extent in high - low) + " um"
    if isinstance(content, TriangleSurface):
        pieces = int(content.pieces.max()) + 1
        return f"{len(content.points)} points, {len(content.triangles)} triangles, {pieces} pieces, {box}"
    compartments = int(content.cell_tags.max()) + 1
    return f"{len(content.points)} points, {len(content.cells)} tetrahedra, {compartments} compartments, {box}"


def _show(findings: list[doctor.Finding], console: Console) -> None:
    if not findings:
        return
    table = Table("", "what", "where", "mend")
    for finding in findings:
        table.add_row(finding.kind, finding.what, finding.where, finding.mend)
    console.print(table)
