"""Types of wider numbers."""

from armoe_jax.ops.precision import wide


def test_wide_widens_bfloat16_only():
    widened = {name: wide(name).name for name in ("bfloat16", "float32", "float64")}
    assert widened == {"bfloat16": "float32", "float32": "float32", "float64": "float64"}
