"""Everything that the built-in plugins offer keeps the contract of its kind."""

from __future__ import annotations

import pytest
from plugin_cases import check, offers

KINDS = {"parametrization", "prior", "schedule", "gradient rule", "optimizer", "trainer", "template"}


@pytest.mark.parametrize(("kind", "name"), offers(), ids=lambda value: str(value))
def test_it_conforms(kind: str, name: str) -> None:
    check(kind, name)


def test_every_kind_is_among_them() -> None:
    assert {kind for kind, _ in offers()} == KINDS
