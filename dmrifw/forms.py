"""The Bloch-Torrey equation as UFL forms, usable with DOLFINx alone: no PETSc, no numpy, no torch.

The unknown is w = u / rho, transverse magnetization u over equilibrium density rho, on a space that may jump across
interfaces. Written for w, exchange obeys detailed balance and every form is symmetric:

    rho dw/dt = div(rho D grad w) - rho w/T2 - i q f (g.x) rho w      in compartments
    rho D grad w . n = kappa [w]                                      on permeable interfaces
    rho D grad w . n = -kappa w                                       on a permeable exterior
    rho D grad w . n = -s rho w                                       on surfaces of relaxivity s

With uniform rho = 1, w is u. The weak form, with v the test function:

    (rho dw/dt, v) + (rho D grad w, grad v) + (rho w/T2, v) + i q f (rho g.x w, v)
        + sum over facets int kappa [w][v] dS + int kappa w v ds = 0

Every form here is real; the imaginary unit is left to the time integrator. Only side-symmetric expressions are used on
facets, so that results do not depend on how a mesh is partitioned.

Source: Grebenkov, Rev. Mod. Phys. 79:1077 (2007), sections II and III.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import ufl

Expression: TypeAlias = Any
"""Anything UFL takes as an expression: an argument, a function, a constant, a number."""


def mass(w: Expression, v: Expression, density: Expression = 1.0) -> ufl.Form:
    """(rho w, v) over the cells. Density is dimensionless, relative."""
    return ufl.inner(density * w, v) * ufl.dx


def stiffness(w: Expression, v: Expression, diffusivity: Expression, density: Expression = 1.0) -> ufl.Form:
    """(rho D grad w, grad v) over the cells; D in um^2/ms, a scalar or a symmetric 3x3 tensor."""
    flux = ufl.dot(diffusivity, ufl.grad(w)) if ufl.as_ufl(diffusivity).ufl_shape else diffusivity * ufl.grad(w)
    return ufl.inner(density * flux, ufl.grad(v)) * ufl.dx


def relaxation(w: Expression, v: Expression, rate: Expression, density: Expression = 1.0) -> ufl.Form:
    """(rho w/T2, v) over the cells; rate = 1/T2 in 1/ms."""
    return ufl.inner(density * rate * w, v) * ufl.dx


def moment(w: Expression, v: Expression, position: Expression, density: Expression = 1.0) -> ufl.Form:
    """(rho x w, v) over the cells: the first moment along one axis; position in um."""
    return ufl.inner(density * position * w, v) * ufl.dx


def drift(w: Expression, v: Expression, flux: Expression, density: Expression = 1.0) -> ufl.Form:
    """(rho D e.grad w, v) - (rho w, D e.grad v) over the cells, skew; flux is the vector D e, um^2/ms."""
    forward = ufl.inner(density * ufl.dot(flux, ufl.grad(w)), v)
    return (forward - ufl.inner(density * w, ufl.dot(flux, ufl.grad(v)))) * ufl.dx


def interface(w: Expression, v: Expression, permeability: Expression) -> ufl.Form:
    """Exchange int kappa [w][v] dS over interior facets; kappa in um/ms, a function on the mesh of facets."""
    measure = ufl.Measure("dS", domain=_domain(w))
    return permeability("+") * ufl.inner(ufl.jump(w), ufl.jump(v)) * measure


def exterior(w: Expression, v: Expression, permeability: Expression) -> ufl.Form:
    """Loss int kappa w v ds through exterior facets; kappa in um/ms, a function on the mesh of facets."""
    return permeability * ufl.inner(w, v) * ufl.Measure("ds", domain=_domain(w))


def relaxivity(w: Expression, v: Expression, strength: Expression, density: Expression = 1.0) -> ufl.Form:
    """Loss at surfaces, int s rho w v on both sides of interior facets and on exterior ones; s in um/ms, on facets."""
    domain, product = _domain(w), density * ufl.inner(w, v)
    inside = strength("+") * (product("+") + product("-")) * ufl.Measure("dS", domain=domain)
    return inside + strength * product * ufl.Measure("ds", domain=domain)


def facet_trace(w: Expression, mu: Expression) -> ufl.Form:
    """Int [w] mu dS + int w mu ds, with mu in a space on the mesh of facets.

    With B its matrix and M_F the mass matrix of one facet, the exchange through that facet is
    kappa_F B_F^T M_F^-1 B_F: this factor is what gives one gradient per facet.
    """
    domain = _domain(w)
    jump = ufl.inner(ufl.jump(w), mu("+")) * ufl.Measure("dS", domain=domain)
    return jump + ufl.inner(w, mu) * ufl.Measure("ds", domain=domain)


def _domain(w: Expression) -> Any:
    return ufl.domain.extract_unique_domain(w)
