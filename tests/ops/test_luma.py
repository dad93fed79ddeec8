from armoe_jax.metrics import image
from armoe_jax.ops.luma import LUMA
from armoe_jax.video import color


def test_limited_range_weights_are_those_of_published_figures_to_the_last_bit():
    # BasicSR's and MATLAB's constants, 219 times the weights of full range.
    assert image.LUMA_WEIGHTS == (65.481, 128.553, 24.966)


def test_videos_have_the_weights_of_images():
    kr, kb = color.LUMA_WEIGHTS["bt601"]
    assert (kr, round(1 - kr - kb, 12), kb) == LUMA
