"""The tables of experts. To add one, write its file and its rows here; tests run over both tables.

The released form (EXPERTS) takes features of whole images and a decay. The windowed form (FRAMES)
is a transform with a true inverse; what happens to its coefficients is learnt, see
`armoe_jax.models.windowed_mixture`.
"""

from collections.abc import Callable

from armoe_jax.experts import dct, fft, haar, swt
from armoe_jax.experts.base import Expert
from armoe_jax.ops.frames import Frame

EXPERTS: dict[str, type[Expert]] = {
    "dct": dct.DCT,
    "fft": fft.FFT,
    "haar": haar.Haar,
    "swt": swt.SWT,
}
"""Name -> module. The order is the released gate's: index 0 is DCT, 3 is SWT."""

FRAMES: dict[str, Callable[[int], Frame]] = {
    "dct": dct.frame,
    "fft": fft.frame,
    "haar": haar.frame,
    "swt": swt.frame,
}
"""Name -> function from a window's side to the expert's transform."""
