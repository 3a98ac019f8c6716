"""What the scanner plays: waveforms, directions, protocols, published presets, and protocol files."""

from dmrifw.sequences.directions import fibonacci_directions
from dmrifw.sequences.oscillating import OGSE, TrapezoidalOGSE
from dmrifw.sequences.presets import PRESETS
from dmrifw.sequences.protocol import Protocol
from dmrifw.sequences.pulsed import DDE, PGSE, PGSTE, TRSE, LongNarrow
from dmrifw.sequences.registry import WAVEFORMS, parameters, table_of, waveform_from
from dmrifw.sequences.sampled import Sampled, sampled
from dmrifw.sequences.shells import shell_numbers
from dmrifw.sequences.tensor import BTensor
from dmrifw.sequences.waveforms import Waveform

__all__ = [
    "DDE",
    "OGSE",
    "PGSE",
    "PGSTE",
    "PRESETS",
    "TRSE",
    "WAVEFORMS",
    "BTensor",
    "LongNarrow",
    "Protocol",
    "Sampled",
    "TrapezoidalOGSE",
    "Waveform",
    "fibonacci_directions",
    "parameters",
    "sampled",
    "shell_numbers",
    "table_of",
    "waveform_from",
]
