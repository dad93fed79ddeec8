"""Expert 1 against NumPy's Fourier transform."""

import numpy as np

from armoe_jax.experts.fft import FFT, frame


def test_the_spectrum_over_rows_columns_and_channels_decays(inputs, weights_of):
    spectrum = np.fft.fftn(np.asarray(inputs.values, float), axes=(1, 2, 3))
    expected = np.fft.ifftn(spectrum * weights_of(inputs.decay), axes=(1, 2, 3)).real
    np.testing.assert_allclose(FFT().apply({}, inputs), expected, rtol=0, atol=1e-5)


def test_bands_of_the_frame_are_products_of_cosines_and_sines():
    window = np.random.default_rng(0).normal(size=(4, 4))
    coefficients = (frame(4).matrix @ window.ravel()).reshape(4, 4)
    spectrum = np.fft.fft2(window)
    # Rows 0 to 3 of the basis: constant, cosine, sine of frequency 1, alternation; orthonormal.
    assert np.isclose(coefficients[0, 0], spectrum[0, 0].real / 4)
    assert np.isclose(coefficients[3, 3], spectrum[2, 2].real / 4)
    root = 2**0.5
    assert np.isclose(coefficients[0, 1], root * spectrum[0, 1].real / 4)
    assert np.isclose(coefficients[0, 2], -root * spectrum[0, 1].imag / 4)
    assert frame(4).shells == (0, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 2, 2, 2, 2, 2)
