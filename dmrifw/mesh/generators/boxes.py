"""What packed discs and balls in a box have in common in gmsh."""

from __future__ import annotations

from typing import Any

import numpy as np

from dmrifw.typing import IntArray

Entity = tuple[int, int]


def cut_box(occ: Any, box: Entity, solids: list[Entity], which: IntArray) -> list[list[int]]:
    """Cut a box by solids that reach into it, and remove what sticks out.

    Args:
        occ: The CAD kernel of gmsh, not yet synchronized.
        box: The box or rectangle.
        solids: Balls or discs that do not overlap.
        which: The compartment of each solid.

    Returns:
        The gmsh entities of each compartment, that of the space between them last.

    Local.
    """
    _, parents = occ.fragment([box], solids)
    free = {tag for _, tag in parents[0]}
    compartments: list[list[int]] = [[] for _ in range(int(which.max()) + 2)]
    for compartment, pieces in zip(which, parents[1:], strict=True):
        mine = free & {tag for _, tag in pieces}
        compartments[compartment] += sorted(mine)
        free -= mine
    compartments[-1] = sorted(free)
    used = {tag for pieces in compartments for tag in pieces}
    occ.remove([entity for entity in occ.getEntities(box[0]) if entity[1] not in used], recursive=True)
    return compartments


def join_sides(gmsh: Any, side: float, dimension: int) -> None:
    """Mesh the upper sides of the box [0, side]^dimension as copies of the lower ones. Local."""
    sides = gmsh.model.getEntities(dimension - 1)
    boxes = {tag: np.array(gmsh.model.getBoundingBox(dimension - 1, tag)) for _, tag in sides}
    slack = 1e-5 * side
    for axis in range(dimension):
        on = {
            wall: [tag for tag, box in boxes.items() if np.abs(box[[axis, axis + 3]] - wall).max() < slack]
            for wall in (0.0, side)
        }
        shift = np.zeros(6)
        shift[[axis, axis + 3]] = side
        move = np.eye(4)
        move[axis, 3] = side
        for copy in on[side]:
            master = min(on[0.0], key=lambda tag: float(np.abs(boxes[tag] + shift - boxes[copy]).max()))
            gmsh.model.mesh.setPeriodic(dimension - 1, [copy], [master], move.ravel().tolist())
