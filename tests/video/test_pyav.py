"""What differs between releases of PyAV."""

from fractions import Fraction

import av

from armoe_jax.video.pyav import as_fraction


def test_rationals_of_old_and_new_pyav():
    """Up to PyAV 18 rates are fractions or None; then `AVRational`, which has unset values."""
    assert as_fraction(None) is None
    kinds = [Fraction, *([av.AVRational] if hasattr(av, "AVRational") else [])]
    for kind in kinds:
        assert as_fraction(kind(0, 1)) is None
        assert type(as_fraction(kind(30000, 1001))) is Fraction
        assert as_fraction(kind(30000, 1001)) == Fraction(30000, 1001)
    for unset in ([1, 0], [0, 0]) if len(kinds) > 1 else []:
        assert as_fraction(av.AVRational(*unset)) is None
