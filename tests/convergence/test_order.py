"""Curved walls: errors against semi-analytic signals fall with the square of the edge length, or faster."""

from __future__ import annotations

import pytest
from convergence_study import STUDIES, Study, observed_order


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_errors_fall_at_second_order(study: Study) -> None:
    """Linear elements on flat facets that hold the exact volume: order 2; 1.8 leaves room for irregular meshes."""
    errors = [study.error(h)[0] for h in study.sizes]
    assert observed_order(study.sizes, errors) >= 1.8, errors
