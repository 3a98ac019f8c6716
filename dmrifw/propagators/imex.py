"""An implicit-explicit Runge-Kutta scheme of order four whose implicit stages share one matrix.

Diffusion, stiff and symmetric, is implicit; the gradient, small and skew, explicit. The implicit part is L-stable and
stiffly accurate, and all of its stages solve with M + h gamma A.

Source: Kennedy and Carpenter, Appl. Numer. Math. 44:139 (2003), ARK4(3)6L[2]SA.
"""

from __future__ import annotations

import numpy as np

from dmrifw.typing import FloatArray

STAGES = 6
GAMMA = 0.25

NODES = np.array([0, 1 / 2, 83 / 250, 31 / 50, 17 / 20, 1])
"""(6,) times of the stages, in steps."""

WEIGHTS = np.array([82889 / 524892, 0, 15625 / 83664, 69875 / 102672, -2260 / 8211, 1 / 4])
"""(6,) weights of both parts; also the last row of `IMPLICIT`."""


def _rows(*rows: list[float]) -> FloatArray:
    table = np.zeros((STAGES, STAGES))
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table


EXPLICIT = _rows(
    [],
    [1 / 2],
    [13861 / 62500, 6889 / 62500],
    [-116923316275 / 2393684061468, -2731218467317 / 15368042101831, 9408046702089 / 11113171139209],
    [
        -451086348788 / 2902428689909,
        -2682348792572 / 7519795681897,
        12662868775082 / 11960479115383,
        3355817975965 / 11060851509271,
    ],
    [
        647845179188 / 3216320057751,
        73281519250 / 8382639484533,
        552539513391 / 3454668386233,
        3354512671639 / 8306763924573,
        4040 / 17871,
    ],
)
"""(6, 6) strictly lower triangular."""

IMPLICIT = _rows(
    [],
    [1 / 4, 1 / 4],
    [8611 / 62500, -1743 / 31250, 1 / 4],
    [5012029 / 34652500, -654441 / 2922500, 174375 / 388108, 1 / 4],
    [15267082809 / 155376265600, -71443401 / 120774400, 730878875 / 902184768, 2285395 / 8070912, 1 / 4],
    list(WEIGHTS),
)
"""(6, 6) lower triangular with `GAMMA` on the diagonal, but for the first stage, which is explicit."""

LEFT_OVER = WEIGHTS - EXPLICIT[-1]
"""(6,) what a step adds to its last stage: sum_j of these times h M^-1 F_j. The implicit part adds nothing."""
