import jax
import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.training.losses import LOSSES, make_loss


def images(*values):
    return jnp.asarray(values, jnp.float32).reshape(1, 1, -1, 1)


def test_l1():
    # (|0.5 - 0| + |0.1 - 0.4|) / 2 = 0.4
    assert float(make_loss("l1")(images(0.5, 0.1), images(0.0, 0.4))) == pytest.approx(0.4)


def test_l2():
    # (0.25 + 0.09) / 2 = 0.17
    assert float(make_loss("l2")(images(0.5, 0.1), images(0.0, 0.4))) == pytest.approx(0.17)


def test_charbonnier():
    # eps 0.16, differences 0 and 0.3: (sqrt(0.16) + sqrt(0.09 + 0.16)) / 2 = (0.4 + 0.5) / 2
    loss = make_loss("charbonnier", charbonnier_eps=0.16)
    assert float(loss(images(0.2, 0.1), images(0.2, 0.4))) == pytest.approx(0.45)


def test_psnr_counts_images_by_their_relative_error():
    # Mean squared errors 0.01 - 1e-5 and 1e-4 - 1e-5, with eps 1e-2 and 1e-4: -(20 + 40) / 2 dB
    output = jnp.sqrt(jnp.asarray([0.01 - 1e-5, 1e-4 - 1e-5])).reshape(2, 1, 1, 1)
    loss = make_loss("psnr")
    assert float(loss(output, jnp.zeros_like(output))) == pytest.approx(-30.0, abs=1e-4)


def test_rmse_is_the_mean_over_images():
    # Two images with errors of 0.3 and 0.1 everywhere, but for the eps of 1e-6: (0.3 + 0.1) / 2
    output = jnp.sqrt(jnp.asarray([0.09 - 1e-6, 0.01 - 1e-6])).reshape(2, 1, 1, 1)
    loss = make_loss("rmse")
    assert float(loss(output, jnp.zeros_like(output))) == pytest.approx(0.2, abs=1e-6)


def test_planes_count_six_to_one_to_one():
    # A gray error is one of luma alone: 0.75 * 0.2.
    gray = jnp.full((1, 1, 1, 3), 0.2)
    loss = make_loss("l1", colors="ycbcr")
    assert float(loss(gray, jnp.zeros_like(gray))) == pytest.approx(0.15)
    # Blue alone: Y 0.114, Cb (1 - 0.114) / 1.772 = 0.5, Cr -0.114 / 1.402 = -0.0813.
    blue = jnp.asarray([0.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
    want = 0.75 * 0.114 + 0.125 * 0.5 + 0.125 * 0.114 / 1.402
    assert float(loss(jnp.zeros_like(blue), blue)) == pytest.approx(want)


def test_planes_need_rgb():
    with pytest.raises(ValueError, match="these have 1 channels; use 'rgb'"):
        make_loss("l1", colors="ycbcr")(images(0.5), images(0.4))
    with pytest.raises(ValueError, match="loss_colors is 'lab'"):
        make_loss("l1", colors="lab")


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradient_is_finite_at_equality_and_points_to_the_original(name):
    loss = make_loss(name)
    gt = images(0.5, 0.5, 0.5)
    grads = jax.grad(loss)(images(0.5, 0.7, 0.2), gt).ravel()
    assert np.all(np.isfinite(grads))
    assert grads[1] > 0 > grads[2]


def test_unknown_loss_is_refused():
    with pytest.raises(ValueError, match=r"train.loss is 'mse'; choose one of"):
        make_loss("mse")


def test_eps_must_be_positive():
    with pytest.raises(ValueError, match="charbonnier_eps is 0"):
        make_loss("charbonnier", charbonnier_eps=0.0)
