"""Expert 0 against SciPy's cosine transform."""

import numpy as np
from scipy.fft import dctn, idctn

from armoe_jax.experts.dct import DCT, frame


def test_the_spectrum_decays(inputs, weights_of):
    spectrum = dctn(np.asarray(inputs.values, float), axes=(1, 2), norm="ortho")
    expected = idctn(spectrum * weights_of(inputs.decay), axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(DCT().apply({}, inputs), expected, rtol=0, atol=1e-5)


def test_the_frame_of_a_window_is_its_transform():
    window = np.random.default_rng(0).normal(size=(4, 4))
    expected = dctn(window, norm="ortho")
    np.testing.assert_allclose(frame(4).matrix @ window.ravel(), expected.ravel(), atol=1e-12)
    assert (frame(4).num_bands, frame(4).places) == (16, 1)
    # The larger of a band's two frequencies.
    assert frame(4).shells == (0, 1, 2, 3, 1, 1, 2, 3, 2, 2, 2, 3, 3, 3, 3, 3)
