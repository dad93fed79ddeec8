"""The table of experts. To add one, write its file and its row here; the tests run over it."""

from armoe_jax.experts.base import Expert
from armoe_jax.experts.dct import DCT
from armoe_jax.experts.fft import FFT
from armoe_jax.experts.haar import Haar
from armoe_jax.experts.swt import SWT

EXPERTS: dict[str, type[Expert]] = {
    "dct": DCT,
    "fft": FFT,
    "haar": Haar,
    "swt": SWT,
}
"""Name -> module. The order is the released gate's: index 0 is DCT, 3 is SWT."""
