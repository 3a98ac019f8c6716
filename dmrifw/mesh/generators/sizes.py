"""Sizes that generators and configs share, um."""

DEFAULT_H = 0.6
"""Edge length of the elements of spheres and cylinders: signals of radii 5 to 10 um are then within 1e-3."""

DEFAULT_LENGTH = 10.0
"""Length of cylinders."""

DEFAULT_LAYER_H = 0.75
"""Spacing across layers: signals of layers 2 to 10 um wide are then within 1e-5, with quadratic elements. Linear ones
need 0.05 for 2e-5."""

DEFAULT_TRANSVERSE = (1.0, 1.0)
"""Extent of layers along y and z."""

DEFAULT_TRANSVERSE_H = 1.25
"""Spacing along y and z, and in boxes, for quadratic elements."""

DEFAULT_AXON_H = 0.3
"""Edge length of the elements of axons."""

GMSH_PER_EDGE = 5 / 6
"""What to ask of gmsh: edges inside a volume that its Delaunay mesher fills are longer than the size on the walls."""
