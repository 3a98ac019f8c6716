"""What the scanner plays: waveforms, directions, protocols and published presets."""

from dmrifw.sequences.directions import fibonacci_directions
from dmrifw.sequences.protocol import PRESETS, Protocol
from dmrifw.sequences.waveforms import PGSE, Waveform

__all__ = ["PGSE", "PRESETS", "Protocol", "Waveform", "fibonacci_directions"]
