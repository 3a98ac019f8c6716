"""Undecided faces move faster once the outline has been found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import Count, NonNegative
from dmrifw_interface_priors.likelihood import barrier_probability, commitment, log10_permeability


class FillIn:
    """Undecided faces move faster after a warm-up, so that walls inside an outline are carved too.

    From iteration `warm_up` on the gradient g_F of each face's own parameter becomes

        g_F (1 + boost (1 - c_F))           c_F = |2 p_F - 1|

    with p_F = sigmoid((-3 - x_F) / 0.5), x_F = log10(kappa_F in um/us): 1 + boost times for an undecided face, once for
    one that has committed itself. Clip after this rule, not before.

    Args:
        setting: The problem at hand; uses its grid.
        boost: What an undecided face gains, dimensionless.
        warm_up: Iterations before that.

    Source: Spinverse, arXiv 2603.04638 (fill-in); the default of `boost` is ours.
    """

    def __init__(self, setting: Setting, *, boost: NonNegative = 1.0, warm_up: Count = 80) -> None:
        self.faces = len(setting.grid.faces)
        self.boost, self.warm_up = boost, warm_up

    def __call__(
        self, gradients: Sequence[torch.Tensor], fields: Mapping[str, torch.Tensor], iteration: int
    ) -> list[torch.Tensor]:
        """The gradients, scaled where they hold one number per face, (F,) of fields["permeability"] in um/ms.

        Raises:
            InputError: No parameter has one number per face.

        Local.
        """
        owned = [gradient.shape == (self.faces,) for gradient in gradients]
        if not any(owned):
            raise InputError(
                "the parametrization has no parameter with one number per face, which fill-in scales",
                'leave "fill-in" out, or use parametrization = "face-permeability"',
                key="inversion.gradient_rules",
            )
        if iteration < self.warm_up:
            return list(gradients)
        p = barrier_probability(log10_permeability(fields["permeability"]))
        factor = 1.0 + self.boost * (1.0 - commitment(p))
        return [one * factor if by_face else one for one, by_face in zip(gradients, owned, strict=True)]
