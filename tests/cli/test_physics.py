"""What `[solver]`, `[tissue]` and `periodic` reach in the solver, against theory, from a config like a user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq

from dmrifw.cli.case import Case, build_case
from dmrifw.cli.config import parse_text
from dmrifw.errors import InputError
from dmrifw.mesh import bcc_grid, layers
from dmrifw.mesh.files import write_grid

PULSES = "[[protocol.shell]]\nb = [0, 1000]\ndelta = 10\nDelta = 20\ndirections = [[1, 0, 0]]\n"


def case(text: str, folder: Path = Path()) -> Case:
    """The case of a config that lies in a folder."""
    return build_case(parse_text(text, folder / "config.toml"))


def attenuations(text: str) -> np.ndarray:
    """|S| of all measurements of a config over that of the first."""
    built = case(text)
    signal = np.abs(built.signal_model(built.protocol).signal(built.required_permeability(), keep=False)[0])
    return signal / signal[0]


class TestSolver:
    @pytest.mark.parametrize(
        ("geometry", "degree"),
        [
            ('kind = "layers"\nwidths = [2, 3]', 2),
            ('kind = "box"\nsize = [2, 2, 2]', 2),
            ('kind = "spheres"\nradii = [2]', 1),
            ('kind = "grid"', 1),
        ],
    )
    def test_quadratic_elements_go_with_flat_walls(self, geometry: str, degree: int) -> None:
        built = case(f"[geometry]\n{geometry}\n{PULSES}")
        assert built.degree == degree
        assert built.signal_model(built.protocol).operators.space.degree == degree

    def test_linear_elements_are_less_accurate(self) -> None:
        """A slab of 5 um at b = 1000, alone: four elements, and eighty of them for the exact value."""
        text = '[geometry]\nkind = "layers"\nwidths = [5]\nh = {h}\n' + PULSES + "[solver]\ndegree = {degree}\n"
        exact = attenuations(text.format(h=1 / 16, degree=2))[1]
        linear, quadratic = (abs(attenuations(text.format(h=1.25, degree=n))[1] - exact) for n in (1, 2))
        assert quadratic < 0.1 * linear

    def test_methods_agree_to_the_tolerance(self) -> None:
        text = '[geometry]\nkind = "layers"\nwidths = [2, 3]\n' + PULSES + '[solver]\ntolerance = 1e-5\nmethod = "{}"\n'
        values = [attenuations(text.format(name))[1] for name in ("automatic", "matrix-formalism", "full-order")]
        assert np.ptp(values) < 2e-5


class TestPeriodic:
    @pytest.mark.parametrize("geometry", ['kind = "box"\nsize = [4, 4, 4]\nh = 2', 'kind = "layers"\nwidths = [5]'])
    def test_free_diffusion_is_exact(self, geometry: str) -> None:
        """S = exp(-b g.D g), anisotropic."""
        tensor, direction = np.array([[2.0, 0.3, 0], [0.3, 1.5, 0.2], [0, 0.2, 1.0]]), np.array([1, 2, -1]) / np.sqrt(6)
        text = f"[geometry]\n{geometry}\nperiodic = true\n[tissue]\ndiffusivity = {tensor.tolist()}\n{PULSES}"
        found = attenuations(text.replace("[1, 0, 0]", str(direction.tolist())))[1]
        assert found == pytest.approx(np.exp(-direction @ tensor @ direction), abs=1e-6)

    def test_it_does_not_matter_where_the_boundary_lies(self) -> None:
        """Layers of 5 um, alternating in diffusivity: a cell may be cut anywhere in one of them."""
        tissue = "[tissue]\ndiffusivity = [2, 1]\npermeability = [0.05]\n"
        found = [
            attenuations(f'[geometry]\nkind = "layers"\nwidths = {widths}\nperiodic = true\n{tissue}{PULSES}')[1]
            for widths in ([2.5, 5, 2.5], [1, 5, 4])
        ]
        assert found[0] == pytest.approx(found[1], abs=2e-5)

    @pytest.mark.slow
    def test_walls_in_series_slow_diffusion(self) -> None:
        """At long times 1/D_eff = 1/D + 1/(kappa a), for walls a apart (Crick, The mathematics of diffusion).

        <x^2> = 2 D_eff t + const: for the same small q, the constant cancels between two diffusion times.
        """
        times = np.array([100.0, 200.0])
        b = 10 * (times - 1 / 3) / (times[0] - 1 / 3)
        text = '[geometry]\nkind = "layers"\nwidths = [1, 5, 4]\nperiodic = true\n[tissue]\npermeability = [0.1]\n'
        for Delta, value in zip(times, b, strict=True):
            text += f"[[protocol.shell]]\nb = [0, {value}]\ndelta = 1\nDelta = {Delta}\ndirections = [[1, 0, 0]]\n"
        found = attenuations(text + "[solver]\ntolerance = 2e-6\n")
        slope = np.log(found[1] / found[3]) / ((b[1] - b[0]) * 1e-3)
        assert slope == pytest.approx(1 / (1 / 2 + 1 / (0.1 * 5)), rel=2e-3)

    def test_some_axes_may_be(self, tmp_path: Path) -> None:
        write_grid(tmp_path / "mesh.vtu", layers([2, 3], [2, 2]))
        text = f'[geometry]\nkind = "file"\npath = "mesh.vtu"\nperiodic = [false, true, true]\n{PULSES}'
        built = case(text, tmp_path)
        assert built.substrate.periodic == (False, True, True)
        assert built.signal_model(built.protocol).operators.space.periodic == (False, True, True)

    @pytest.mark.parametrize(
        ("geometry", "line"),
        [
            ('kind = "layers"\nwidths = [2, 4]\nperiodic = true', r"geometry\.widths: two .* \[1, 4, 1\]"),
            ('kind = "file"\npath = "layers.vtu"\nperiodic = true', r"geometry\.periodic: compartments \[0, 1\] meet"),
            ('kind = "file"\npath = "grid.vtu"\nperiodic = true', r"geometry\.periodic: the faces at x = .* match"),
            ('kind = "file"\npath = "layers.vtu"\nperiodic = [true]', r"geometry\.periodic: got \[True\]; give true"),
            (
                'kind = "file"\npath = "layers.vtu"\nambient = true\nperiodic = true',
                r"geometry\.periodic: every face may be a wall .*; remove periodic, or set ambient = false",
            ),
            (
                'kind = "box"\nsize = [2, 2, 2]\nperiodic = true\n[tissue]\nexterior = "permeable"',
                r"tissue\.exterior: a grid that is periodic along all axes has no exterior; remove it",
            ),
            (
                'kind = "box"\nsize = [2, 2, 2]\nperiodic = true\n[tissue]\nsurface_relaxivity = 0.1',
                r"tissue\.surface_relaxivity: a grid that is periodic along all axes has no exterior; remove it",
            ),
        ],
    )
    def test_nonsense_is_refused(self, geometry: str, line: str, tmp_path: Path) -> None:
        write_grid(tmp_path / "layers.vtu", layers([2, 3]))
        write_grid(tmp_path / "grid.vtu", bcc_grid(2))
        with pytest.raises(InputError, match=line):
            case(f"[geometry]\n{geometry}\n{PULSES}", tmp_path)


def slab(width: float, relaxivity: float, time: float, D: float = 2.0) -> float:
    """Share of magnetization left in a slab that relaxes on one side: the lowest mode, others take less than 1e-6.

    Modes cos(k x) with D k tan(k w) = rho (Brownstein and Tarr, Phys. Rev. A 19:2446, 1979).
    """
    k = brentq(lambda k: D * k * np.sin(k * width) - relaxivity * np.cos(k * width), 1e-9, np.pi / 2 / width)
    share = 2 * np.sin(k * width) ** 2 / (k * width * (k * width + np.sin(k * width) * np.cos(k * width)))
    return float(share * np.exp(-D * k * k * time))


class TestSurfaceRelaxivity:
    def test_a_list_has_the_exterior_last(self) -> None:
        """Two closed layers that relax at the wall between them alone."""
        text = '[geometry]\nkind = "layers"\nwidths = [2, 3]\n[tissue]\npermeability = [0]\n'
        built = case(text + f'surface_relaxivity = ["0.01 um/ms", 0]\n{PULSES}')
        parts = built.signal_model(built.protocol).compartment_signal(built.required_permeability())[0].real
        np.testing.assert_allclose(parts / [2, 3], [slab(width, 0.01, 30) for width in (2, 3)], atol=3e-5)

    def test_a_number_is_for_exterior_and_walls(self) -> None:
        """Closed layers of equal width in a box: each relaxes on six sides, half of each slab on one."""
        text = '[geometry]\nkind = "layers"\nwidths = [2, 2]\ntransverse = [1, 3]\n[tissue]\npermeability = 0\n'
        built = case(text + f"surface_relaxivity = 0.01\n{PULSES}")
        signal = built.signal_model(built.protocol).signal(built.required_permeability(), keep=False)[0][0].real
        expected = np.prod([slab(width / 2, 0.01, 30) for width in (2, 1, 3)])
        assert signal / 12 == pytest.approx(expected, abs=3e-5)

    @pytest.mark.parametrize(
        ("geometry", "value", "line"),
        [
            (
                'kind = "layers"\nwidths = [2, 3]',
                "[0.1]",
                "1 values for 1 interfaces .* the exterior; .* exterior's last",
            ),
            ('kind = "layers"\nwidths = [2, 3]', "-1", "-1 is out of range; give a number of at least 0"),
            ('kind = "layers"\nwidths = [2, 3]', '"1 ms"', "um/ms"),
            (
                'kind = "grid"\nbarrier = { shape = "sphere", radius = 10 }',
                "[0.1, 0]",
                "every face .*; give one number",
            ),
        ],
    )
    def test_nonsense_is_refused(self, geometry: str, value: str, line: str) -> None:
        with pytest.raises(InputError, match=rf"tissue\.surface_relaxivity: .*{line}"):
            case(f"[geometry]\n{geometry}\n[tissue]\nsurface_relaxivity = {value}\n{PULSES}")
