"""Small models to set beside a simulation: free diffusion, ADC and tensor fits, Kärger exchange, the short-time limit.

They take a protocol and a few numbers, no mesh. The homogenized ADC, which needs one, is
`dmrifw.propagators.homogenized_adc`.
"""

from dmrifw.models.adc import DirectionFit, TensorFit, fit_directions, fit_tensor
from dmrifw.models.exchange import exchange_rates, karger
from dmrifw.models.free import free_attenuation
from dmrifw.models.short_time import effective_time, short_time_adc

__all__ = [
    "DirectionFit",
    "TensorFit",
    "effective_time",
    "exchange_rates",
    "fit_directions",
    "fit_tensor",
    "free_attenuation",
    "karger",
    "short_time_adc",
]
