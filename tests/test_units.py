"""Units: quantities with a unit become numbers in the boundary units, once."""

import math

import pytest

from dmrifw import units
from dmrifw.errors import InputError


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("2e-9 m^2/s", "diffusivity", 2.0),  # 1 um^2/ms = 1e-12 m^2 / 1e-3 s
        ("2 um^2/ms", "diffusivity", 2.0),
        ("2e-3 mm^2/s", "diffusivity", 2.0),
        ("1e-6 m/s", "permeability", 1e-3),  # 1 um/ms = 1e-3 m/s
        ("1e-3 um/us", "permeability", 1.0),
        ("0.08 s", "time", 80.0),
        ("40 mT/m", "gradient", 40.0),
        ("0.04 T/m", "gradient", 40.0),
        ("1 ms/um^2", "bvalue", 1000.0),
        ("0.01 mm", "length", 10.0),
        ("inf ms", "time", math.inf),
        ("inf", "time", math.inf),
        ("3", "length", 3.0),
        ("0.5", "dimensionless", 0.5),
        (2, "diffusivity", 2.0),
        (math.inf, "time", math.inf),
    ],
)
def test_quantities(text, kind, expected):
    """Conversions done by hand from SI prefixes; a bare number is in the boundary unit."""
    assert units.parse(text, kind, "key") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("2 um", "diffusivity", "wrong dimension, expected um\\^2/ms"),
        ("2 m^2/s", "permeability", "wrong dimension, expected um/ms"),
        ("10 mT/m", "bvalue", "wrong dimension"),
        ("2 ms", "dimensionless", "wrong dimension, expected none; give a plain number"),
        ("two parrots", "length", "'two parrots' is not a quantity"),
        ("5 um/", "length", "has a unit that does not parse"),
        (";", "length", "is not a quantity"),
        ("", "length", "is not a quantity"),
        ("um", "length", "is not a quantity"),
        ("2 rad", "diffusivity", "wrong dimension"),
        ("9**9**9 um", "length", "does not parse|wrong dimension"),
        ("nan um", "length", "is not a quantity"),
        ("nan", "length", "is not a quantity"),
        (float("nan"), "length", "NaN"),
        (True, "length", "True is not a quantity"),
        (None, "length", "None is not a quantity"),
        ([1.0], "length", "is not a quantity"),
    ],
)
def test_bad_quantities_are_refused(value, kind, words):
    """Each error names the config key, what was written and how to write it."""
    with pytest.raises(InputError, match=words) as caught:
        units.parse(value, kind, "tissue.key")
    assert str(caught.value).startswith("tissue.key: ")


def test_gyromagnetic_constant_in_our_units():
    """G = 1 mT/m: q = 2.6752218708e8 rad/(s T) * 1e-3 T/m = 267522.18708 rad/(s m) = 2.6752218708e-4 rad/(ms um)."""
    assert units.Q_PER_GRADIENT == pytest.approx(2.6752218708e-4, rel=1e-15)


def test_b_in_our_units():
    """1000 s/mm^2 = 1e9 s/m^2 = 1 ms/um^2."""
    assert 1000 * units.B_INSIDE_PER_BOUNDARY == pytest.approx(1.0, rel=1e-15)
