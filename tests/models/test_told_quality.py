"""What a user knows of the coding, in the units of the network."""

import pytest

from armoe_jax.models import ARMoEConfig, ARMoEWConfig
from armoe_jax.models.told_quality import told_quality

QP = ARMoEConfig(quality_range=(42.0, 17.0))
JPEG = ARMoEWConfig(quality_range=(0.0, 8.0), interval_head=True)


def test_a_qp_is_told_as_it_is():
    assert told_quality(27, QP) == 27.0
    assert isinstance(told_quality(27, QP), float)
    # Both ends belong to the range, in whichever order it is given.
    assert (told_quality(17, QP), told_quality(42, QP)) == (17.0, 42.0)


def test_a_quality_of_jpeg_becomes_the_log2_of_the_mean_luma_step():
    # The 64 steps of Annex K, libjpeg's at quality 50, have the sum 3688: log2(3688 / 64) = 5.8486.
    assert told_quality(50, JPEG) == pytest.approx(5.8486, abs=1e-4)
    assert told_quality(100, JPEG) == 0.0  # all steps are 1
    # Between two whole qualities it is their mean.
    between = (told_quality(50, JPEG) + told_quality(51, JPEG)) / 2
    assert told_quality(50.5, JPEG) == pytest.approx(between)


@pytest.mark.parametrize(
    ("quality", "config", "message"),
    [
        (27, ARMoEConfig(), "does not adapt to it"),
        (16.5, QP, "is 16.5; this network knows 17 to 42"),
        (43, QP, "is 43; this network knows 17 to 42"),
        (0, JPEG, "is 0; a JPEG's is 1 to 100"),
        (101, JPEG, "is 101; a JPEG's is 1 to 100"),
        (float("nan"), JPEG, "is nan; a JPEG's is 1 to 100"),
    ],
)
def test_what_the_network_does_not_know_is_refused(quality, config, message):
    with pytest.raises(ValueError, match=f"coding_quality .*{message}"):
        told_quality(quality, config)
