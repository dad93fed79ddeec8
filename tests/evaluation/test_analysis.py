"""Expert usage, decay maps and local attribution, against hand-computed values."""

import dataclasses

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoe_jax.evaluation import analysis
from armoe_jax.models import ARMoEConfig, build_model
from armoe_jax.restore import Restorer

# Two groups: everything is counted and drawn over them.
CONFIG = dataclasses.replace(networks.RELEASED, depth=(1, 1), num_heads=(2, 2))


@pytest.fixture(scope="module")
def restorer():
    x = jnp.zeros((1, 16, 16, 3))
    shapes = jax.eval_shape(build_model(CONFIG).init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda s: (0.2 * rng.standard_normal(s.shape)).astype(np.float32), shapes
    )
    for group in variables["batch_stats"].values():
        for name in ("norm0", "norm1"):
            group["block_0"]["moe"]["gate"][name]["var"][...] = 1.0
    return Restorer(CONFIG, variables)


class TestExpertUsage:
    USAGE = analysis.ExpertUsage(
        ("dct", "fft"), ("a", "b", "c"), np.array([[0, 0, 1], [1, 1, 1]], np.int32)
    )

    def test_counts_and_shares(self):
        np.testing.assert_array_equal(self.USAGE.counts, [[2, 1], [0, 3]])
        np.testing.assert_allclose(self.USAGE.shares, [[2 / 3, 1 / 3], [0, 1]])

    def test_table(self):
        assert self.USAGE.to_csv() == "layer,dct,fft\n0,0.6667,0.3333\n1,0.0000,1.0000\n"

    def test_records_what_the_network_does(self, restorer):
        rng = np.random.default_rng(1)
        images = [(f"{n}", rng.integers(0, 256, (16, 16, 3), np.uint8)) for n in range(2)]
        usage = analysis.expert_usage(restorer, images)
        assert usage.image_names == ("0", "1")
        assert usage.expert_names == CONFIG.experts
        x = np.stack([image for _, image in images]).astype(np.float32) / 255
        _, routing = restorer.apply(x, return_routing=True)
        np.testing.assert_array_equal(usage.expert, routing.expert)

    def test_nothing_to_record(self, restorer):
        with pytest.raises(ValueError, match="0 images"):
            analysis.expert_usage(restorer, [])


class TestDecay:
    def variables(self, kernel, bias):
        dense = {"kernel": np.asarray(kernel, np.float32), "bias": np.asarray(bias, np.float32)}
        block = {"block_0": {"moe": {"to_k": dense}}}
        return {"params": {"group_0": block, "group_1": block}}

    def test_exponents(self):
        # 5 * (0.1 + 0.2) + 0.5 = 2; 5 * (-1 + 0.5) + 1 = -1.5 -> 0.
        variables = self.variables([[0.1, -1], [0.2, 0.5]], [0.5, 1])
        k = analysis.decay_exponents(CONFIG, variables)
        np.testing.assert_allclose(k, [[2, 0], [2, 0]], atol=1e-6)

    def test_maps(self):
        # Channel 0 has k = 2, channel 1 k = 0; at (0, 1) of size 4 the frequency is pi / 4:
        # mean of exp(-2 (pi / 4)^2) = 0.29121 and 1 is 0.64561.
        variables = self.variables([[0.1, -1], [0.2, 0.5]], [0.5, 1])
        maps = analysis.decay_maps(CONFIG, variables, size=4)
        assert maps.shape == (2, 4, 4)
        np.testing.assert_allclose(maps[0, 0, :2], [1, 0.64561], atol=1e-5)
        np.testing.assert_allclose(maps[0], maps[0].T)

    def test_agrees_with_the_network(self, restorer):
        """The maps are those that the network multiplies its spectra by."""
        from armoe_jax.ops.transforms import heat_decay

        k = analysis.decay_exponents(CONFIG, restorer.variables)
        decay = heat_decay(jnp.asarray(k[1]), 8, 8)
        theirs = (decay.rows[:, None, :] * decay.columns[None]).mean(axis=-1)
        ours = analysis.decay_maps(CONFIG, restorer.variables, size=8)[1]
        np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_no_experts(self):
        config = ARMoEConfig(experts=())
        with pytest.raises(ValueError, match="no decay"):
            analysis.decay_exponents(config, {"params": {}})


class TestDiffusionIndex:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([1, 1, 1, 1], 100),  # Gini 0
            ([0, 0, 0, 8], 25),  # Gini (n - 1) / n = 3/4
            # Sorted 1, 3: Gini = ((2 - 3) 1 + (4 - 3) 3) / (2 * 4) = 2/8.
            ([3, -1], 75),
            ([0, 0], 100),
        ],
    )
    def test_known_values(self, values, expected):
        assert analysis.diffusion_index(np.array(values, float)) == pytest.approx(expected)

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
    def test_is_the_mean_absolute_difference(self, values):
        a = np.array(values)
        if a.sum() < 1e-6:
            return
        gini = np.abs(a[:, None] - a[None, :]).sum() / (2 * a.size * a.sum())
        assert analysis.diffusion_index(a) == pytest.approx(100 * (1 - gini), abs=1e-6)


class TestBlur:
    def test_keeps_flat_images_and_the_mean(self):
        x = jnp.asarray(np.random.default_rng(0).random((1, 9, 12, 2), np.float32))
        flat = jnp.full((1, 9, 12, 1), 0.3)
        np.testing.assert_allclose(analysis.gaussian_blur(flat, 1.0, 1.2), flat, atol=1e-6)
        blurred = analysis.gaussian_blur(x, 1.2, 1.2)
        # Mirroring with the edge repeated keeps the mean of each channel.
        np.testing.assert_allclose(blurred.mean((1, 2)), x.mean((1, 2)), atol=1e-5)

    def test_zero_is_the_identity(self):
        x = jnp.asarray(np.random.default_rng(0).random((1, 5, 5, 1), np.float32))
        np.testing.assert_allclose(analysis.gaussian_blur(x, 0.0, 1.2), x, atol=1e-6)

    def test_agrees_with_scipy(self):
        from scipy.ndimage import gaussian_filter

        x = np.random.default_rng(0).random((20, 20)).astype(np.float32)
        theirs = gaussian_filter(x, 1.2, mode="reflect", truncate=5 / 1.2)
        ours = analysis.gaussian_blur(jnp.asarray(x)[None, ..., None], 1.2, 1.2)[0, ..., 0]
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


class TestAttribution:
    IMAGE = np.random.default_rng(0).random((12, 12, 3)).astype(np.float32)

    def test_structure(self):
        # Columns: |1 - 0| + |3 - 2| = 2; rows: |2 - 0| + |3 - 1| = 4.
        assert float(analysis.structure(jnp.array([[0.0, 1.0], [2.0, 3.0]]))) == 6

    def test_identity_depends_on_the_patch_alone(self):
        result = analysis.local_attribution(lambda x: x, self.IMAGE, patch=(3, 4, 5))
        inside = result.map[3:8, 4:9]
        assert inside.sum() == pytest.approx(result.map.sum())
        assert inside.min() > 0
        # 25 of 144 pixels take part at most: DI <= 100 * 25 / 144.
        assert 0 < result.diffusion_index <= 100 * 25 / 144

    def test_parts_sum_to_the_change(self):
        result = analysis.local_attribution(lambda x: x**2, self.IMAGE, steps=100)
        blurred = analysis.gaussian_blur(jnp.asarray(self.IMAGE)[None], 1.2, 1.2)
        sharp, soft = (
            analysis.structure((x**2).mean(axis=-1)) for x in (jnp.asarray(self.IMAGE), blurred[0])
        )
        assert result.patch == (0, 0, 12)
        assert result.change == pytest.approx(float(sharp - soft), rel=1e-4)
        assert result.completeness == pytest.approx(1, abs=0.02)

    def test_shift_shows_in_the_map(self):
        """A network that moves everything two pixels to the right depends on pixels two left."""
        result = analysis.local_attribution(
            lambda x: jnp.roll(x, 2, axis=2), self.IMAGE, patch=(4, 6, 3)
        )
        rows, columns = np.nonzero(result.map)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 6, 4, 6)

    def test_super_resolution(self):
        result = analysis.local_attribution(
            lambda x: x.repeat(2, axis=1).repeat(2, axis=2), self.IMAGE, patch=(8, 8, 4)
        )
        assert result.map.shape == (12, 12)
        assert np.nonzero(result.map)[0].tolist() == [4, 4, 5, 5]

    @pytest.mark.slow
    def test_real_network(self, restorer):
        image = np.random.default_rng(2).integers(0, 256, (16, 16, 3), np.uint8)
        forward = analysis.fixed_routing(restorer, image)
        result = analysis.local_attribution(forward, image, patch=(4, 4, 8), steps=24)
        assert result.map.shape == (16, 16)
        assert result.completeness == pytest.approx(1, abs=0.1)
        # Frequency transforms see the whole image.
        assert (result.map > 0).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"patch": (0, 0, 13)}, "not inside"),
            ({"patch": (-1, 0, 4)}, "not inside"),
            ({"patch": (0, 0, 1)}, "smaller than 2"),
            ({"steps": 0}, "steps=0"),
            ({"sigma": 0.0}, "sigma=0"),
        ],
    )
    def test_refusals(self, options, message):
        with pytest.raises(ValueError, match=message):
            analysis.local_attribution(lambda x: x, self.IMAGE, **options)
