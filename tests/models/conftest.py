"""Reference results with their tolerances, and small networks with random weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from armoe_jax.models import ARMoEConfig

# Three blocks: the third is the first whose windows are shifted.
TINY = ARMoEConfig(
    embed_dim=32, depth=(3,), num_heads=(2,), mlp_ratio=1.0, split_size=(2, 4), upscale=1
)


class Golden:
    """Arrays of one reference file, images and features in this project's layout."""

    def __init__(self, path):
        with np.load(path) as file:
            self._arrays = dict(file)

    def __getitem__(self, name):
        return self._arrays[name]

    def __contains__(self, name):
        return name in self._arrays

    @property
    def names(self):
        return list(self._arrays)

    def f64diff(self, name):
        """The reference's own float32 error."""
        head, _, tail = name.partition("/")
        grouped = f"{head}/f64diff/{tail}"
        return float(self._arrays[grouped if grouped in self else f"f64diff/{name}"])

    def check(self, name, actual):
        """Compares within 10 float32 errors of the reference or 1e-5 of its largest value."""
        expected = self._arrays[name]
        atol = max(10 * self.f64diff(name), 1e-5 * np.abs(expected).max())
        actual = np.asarray(actual)
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="package")
def load_golden():
    """Reads a file of reference results."""
    return Golden


@pytest.fixture(scope="package")
def components(golden_dir):
    """One block of a small released network, stage by stage."""
    return Golden(golden_dir / "components.npz")


@pytest.fixture(scope="package")
def tiny(make_variables):
    """Config and weights of a network of three blocks, the last with shifted windows."""
    return TINY, make_variables(TINY)


@pytest.fixture(scope="package")
def images():
    """Three images whose sides are no multiples of the tiny network's windows."""
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.uniform(size=(3, 7, 6, 3)), jnp.float32)
