"""Protocols in and out: FSL, MRtrix, Camino, DIPY, and a form of our own that loses nothing.

Frames. A protocol's vectors are in the frame of the grid. Read with an `affine` or `image`, or written with one, that
frame is the scanner's (world, RAS+); otherwise vectors pass unchanged and the grid has the axes of the file:

| format | vectors in the file |
|---|---|
| FSL bvals/bvecs | image axes, the first one flipped where the image's affine has a positive determinant |
| MRtrix table | world; `affine` is refused |
| Camino scheme | whatever the caller means (Camino follows the image axes); `affine` is refused |
| DIPY table | whatever the caller means; usually what its bvecs file says |
| dmrifw JSON | the grid's; `affine` is refused |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dmrifw.errors import InputError
from dmrifw.sequences.files import camino, fsl, mrtrix, native
from dmrifw.sequences.files.dipy_tables import from_dipy, to_dipy
from dmrifw.sequences.files.frames import orientation
from dmrifw.sequences.files.samples import read_samples
from dmrifw.sequences.files.text import read_text
from dmrifw.sequences.files.timing import Timing

if TYPE_CHECKING:
    from dmrifw.sequences.protocol import Protocol
    from dmrifw.sequences.waveforms import Waveform
    from dmrifw.typing import ArrayLike

FORMATS = ("fsl", "mrtrix", "camino", "camino-waveform", "dmrifw")

_SUFFIXES = {
    ".bval": "fsl",
    ".bvals": "fsl",
    ".b": "mrtrix",
    ".scheme": "camino",
    ".scheme1": "camino",
    ".json": "dmrifw",
}


def read(
    path: str | Path,
    *,
    format: str | None = None,
    bvecs: str | Path | None = None,
    delta: float | None = None,
    Delta: float | None = None,
    waveform: Waveform | None = None,
    sidecar: str | Path | None = None,
    affine: ArrayLike | None = None,
    image: str | Path | None = None,
    b0_threshold: float = 0.0,
) -> Protocol:
    """The protocol in a file.

    FSL and MRtrix tables hold no timing: give `delta` and `Delta`, or any `waveform`, or a BIDS `sidecar` (the .json
    beside the table is used if it is there) with the keys SmallDelta, LargeDelta (or BigDelta) and RampTime, in
    seconds. BIDS itself names no keys for them.

    Args:
        path: The file; for FSL that of the b-values.
        format: One of `FORMATS`; by default what the name (.bval, bvals, .b, .scheme, .json) or the first line tells.
        bvecs: FSL: the file of directions; by default the one beside `path` with "bvec" for "bval" in its name.
        delta: Pulse duration, ms.
        Delta: Time between the starts of the pulses, ms.
        waveform: The waveform of all measurements.
        sidecar: A BIDS sidecar.
        affine: FSL: (4, 4) or (3, 3) affine of the image, to turn its vectors into world axes.
        image: FSL: a NIfTI file whose affine to take.
        b0_threshold: FSL and MRtrix: b-value up to which a measurement counts as one at b = 0, s/mm^2.

    Returns:
        The protocol.

    Raises:
        InputError: The file cannot be read or is unsound, the timing is not known, or an option does not fit.

    Local.
    """
    file = Path(path)
    chosen = _format(file, format, has_bvecs=bvecs is not None)
    timing = Timing(delta, Delta, waveform, None if sidecar is None else Path(sidecar))
    turn = orientation(affine, None if image is None else Path(image))
    if chosen == "fsl":
        return fsl.read(file, None if bvecs is None else Path(bvecs), timing, turn, b0_threshold)
    if turn is not None or bvecs is not None:
        raise InputError(f"a {chosen} file takes no bvecs, affine or image", "leave them out", key="affine")
    if chosen == "mrtrix":
        return mrtrix.read(file, timing, b0_threshold)
    if b0_threshold:
        raise InputError(f"a {chosen} file takes no b0_threshold", "leave it out", key="b0_threshold")
    if timing.is_given:
        raise InputError(f"a {chosen} file holds its timing", "leave out delta, Delta, waveform, sidecar", key="delta")
    return native.read(file) if chosen == "dmrifw" else camino.read(file)


def write(
    protocol: Protocol,
    path: str | Path,
    *,
    format: str | None = None,
    bvecs: str | Path | None = None,
    affine: ArrayLike | None = None,
    image: str | Path | None = None,
    step: float | None = None,
) -> None:
    """Write a protocol; FSL and MRtrix tables get a .json sidecar with the timing beside them.

    Args:
        protocol: The protocol.
        path: The file; for FSL that of the b-values.
        format: One of `FORMATS`; by default what the name tells.
        bvecs: FSL: the file of directions; by default as in `read`.
        affine: FSL: affine of the image whose axes the file shall use.
        image: FSL: a NIfTI file whose affine to take.
        step: "camino-waveform": cut waveforms into blocks of this many ms; without it only blocks can be written.

    Raises:
        InputError: The format cannot hold this protocol, or an option does not fit; nothing is then written.

    Local; call it on one rank.
    """
    file = Path(path)
    chosen = _format(file, format, has_bvecs=bvecs is not None, sniff=False)
    turn = orientation(affine, None if image is None else Path(image))
    if chosen == "fsl":
        fsl.write(protocol, file, None if bvecs is None else Path(bvecs), turn)
        return
    if turn is not None or bvecs is not None:
        raise InputError(f"a {chosen} file takes no bvecs, affine or image", "leave them out", key="affine")
    if chosen == "mrtrix":
        mrtrix.write(protocol, file)
    elif chosen == "camino":
        camino.write_stejskal_tanner(protocol, file)
    elif chosen == "camino-waveform":
        camino.write_waveforms(protocol, file, step)
    else:
        native.write(protocol, file)


def _format(file: Path, format: str | None, *, has_bvecs: bool, sniff: bool = True) -> str:
    if format is not None:
        if format not in FORMATS:
            raise InputError(f"there is no format {format!r}", f"choose one of: {', '.join(FORMATS)}", key="format")
        return format
    if has_bvecs or "bval" in file.stem.lower():
        return "fsl"
    known = _SUFFIXES.get(file.suffix.lower())
    if known is None and sniff and read_text(file, "path").lstrip().startswith("VERSION"):
        return "camino"
    if known is None:
        raise InputError(
            f"the name of {file} tells no format",
            f"end it in {', '.join(_SUFFIXES)}, or give format: {', '.join(FORMATS)}",
            key="path",
        )
    return known


__all__ = ["FORMATS", "from_dipy", "read", "read_samples", "to_dipy", "write"]
