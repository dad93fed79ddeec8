"""The frequency-domain experts: "features and decay in, features out", one file each.

To add one, write its file and its row here; the tests run over this table.
"""

from armoe_jax.experts.base import Expert, ExpertInputs
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

__all__ = ["EXPERTS", "Expert", "ExpertInputs"]
