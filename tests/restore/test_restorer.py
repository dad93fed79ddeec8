"""The Restorer: shapes, dtypes, tiles, routing, memory."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from armoe_jax.models import build_model
from armoe_jax.models.quality_estimator import MeanEstimator
from armoe_jax.ops.resize import imresize
from armoe_jax.ops.tiling import plan_tiles
from armoe_jax.restore import Restorer, restorer
from armoe_jax.restore.canvas import Canvas
from armoe_jax.restore.jobs import Job
from armoe_jax.restore.programs import Programs


@pytest.fixture(scope="module")
def whole(tiny):
    return Restorer(*tiny)


def picture(height, width, *channels, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, *channels), dtype)


def test_uint8_is_the_rounded_network(whole):
    image = picture(12, 16, 3)
    y = np.asarray(whole.apply(image[None].astype(np.float32) / 255))[0]
    np.testing.assert_array_equal(whole(image), np.rint(np.clip(y, 0, 1) * 255).astype(np.uint8))


def test_uint16_is_the_rounded_network(whole):
    image = picture(12, 16, 3, dtype=np.uint16)
    y = np.asarray(whole.apply(image[None].astype(np.float32) / 65535))[0]
    restored = whole(image)
    assert restored.dtype == np.uint16
    np.testing.assert_array_equal(restored, np.rint(np.clip(y, 0, 1) * 65535).astype(np.uint16))


def test_float32_is_not_clipped(whole):
    image = picture(12, 16, 3).astype(np.float32) / 255
    y = whole(image)
    np.testing.assert_array_equal(y, np.asarray(whole.apply(image[None]))[0])
    assert y.min() < 0 or y.max() > 1


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 5), (12, 16)])
def test_any_size(identity, size):
    restore = Restorer(*identity)
    for channels in ((), (1,), (3,)):
        image = picture(*size, *channels)
        restored = restore(image)
        assert restored.dtype == np.uint8
        np.testing.assert_array_equal(restored, image)


def test_odd_width_is_reflected_and_cropped(tiny, whole):
    config, variables = tiny
    image = picture(12, 15, 3).astype(np.float32) / 255
    padded = np.concatenate([image, image[:, 13:14]], axis=1)
    expected = jax.jit(build_model(config).apply)(variables, jnp.asarray(padded[None]))[0, :, :15]
    np.testing.assert_allclose(whole(image), expected, atol=1e-5)
    np.testing.assert_allclose(whole.apply(image[None])[0], expected, atol=1e-5)


def test_width_one_repeats_the_edge(tiny, whole):
    config, variables = tiny
    image = picture(12, 1, 3).astype(np.float32) / 255
    expected = jax.jit(build_model(config).apply)(variables, jnp.repeat(image[None], 2, axis=2))[
        0, :, :1
    ]
    np.testing.assert_allclose(whole(image), expected, atol=1e-5)
    np.testing.assert_allclose(whole.apply(image[None])[0], expected, atol=1e-5)


def test_gray_through_an_rgb_network_is_the_mean(whole):
    gray = picture(12, 16).astype(np.float32) / 255
    y = whole(np.repeat(gray[..., None], 3, axis=2))
    np.testing.assert_allclose(whole(gray), y.mean(axis=2), atol=1e-6)


@pytest.mark.parametrize("tile", ["none", 16])
def test_rgb_through_a_gray_network_goes_by_channel(tiny, make_variables, tile):
    config = dataclasses.replace(tiny[0], in_chans=1)
    restore = Restorer(config, make_variables(config), tile=tile, overlap=4)
    image = picture(12, 20, 3)
    by_channel = [restore(np.ascontiguousarray(image[..., c])) for c in range(3)]
    np.testing.assert_array_equal(restore(image), np.stack(by_channel, axis=-1))


def test_upscaling_in_tiles(doubling):
    config, variables = doubling
    image = picture(40, 50, 3).astype(np.float32) / 255
    expected = imresize(image, 2.0)
    np.testing.assert_allclose(Restorer(config, variables)(image), expected, atol=1e-5)
    tiled = Restorer(config, variables, tile=32, overlap=12)(image)
    assert tiled.shape == (80, 100, 3)
    # Tiles begin at columns 0 and 18 and fade over 19 to 31; rows begin at 0 and 8 and fade over
    # 16 to 23. Before the fades only the first tile counts.
    np.testing.assert_allclose(tiled[:32, :38], expected[:32, :38], atol=1e-5)


def test_fifty_sizes_compile_four_programs(identity):
    restore = Restorer(*identity, tile=32, overlap=8)
    rng = np.random.default_rng(3)
    for height, width in rng.integers(1, 100, (50, 2)):
        image = picture(int(height), int(width), 3)
        np.testing.assert_array_equal(restore(image), image)
    assert sorted(restore.compiled_shapes) == [(1, 16, 16), (1, 16, 32), (1, 32, 16), (1, 32, 32)]


def test_programs_are_ready_before_the_first_image(identity):
    restorer = Restorer(*identity, tile=16, overlap=4, batch_size=2)
    ready = restorer.prepare(20, 6)
    # 20 rows: two tiles of 16. 6 columns: no more than half a tile.
    assert [ready.plan.shape(*tile) for tile in ready.plan.tiles()] == [(16, 8), (16, 8)]
    assert len(ready.programs) == 1
    assert restorer.compiled_shapes == ((2, 16, 8),)
    restorer(picture(20, 6, 3))
    assert restorer.compiled_shapes == ((2, 16, 8),)


def test_whole_images_compile_once_a_size(identity):
    restore = Restorer(*identity)
    for _ in range(2):
        for size in ((4, 6), (6, 4)):
            restore(picture(*size, 3))
    assert restore.compiled_shapes == ((1, 4, 6), (1, 6, 4))


@pytest.mark.parametrize("gate", ["argmax", "sample"])
def test_results_do_not_depend_on_batches(tiny, gate):
    images = [picture(20, 16, 3, seed=s) for s in range(3)] + [picture(9, 30, 3, seed=9)]
    options = {"tile": 16, "overlap": 4, "gate": gate, "seed": 5}
    one = list(Restorer(*tiny, **options, batch_size=1).restore_images(images))
    restore = Restorer(*tiny, **options, batch_size=4)
    four = list(restore.restore_images(images))
    for a, b in zip(one, four, strict=True):
        np.testing.assert_allclose(a.astype(int), b, atol=1)
    assert {shape[0] for shape in restore.compiled_shapes} == {4}


def test_a_single_image_is_not_run_several_times(identity):
    restore = Restorer(*identity, batch_size=4)
    restore(picture(4, 6, 3))
    assert restore.compiled_shapes == ((1, 4, 6),)
    list(restore.restore_images([picture(8, 6, 3)] * 5))
    # Four together; the fifth fills a batch of the program that is there.
    assert restore.compiled_shapes == ((1, 4, 6), (4, 8, 6))


def test_images_are_read_lazily_and_returned_in_order(identity):
    read = []

    def images():
        for i in range(20):
            read.append(i)
            yield np.full((4, 4 + 2 * (i % 3), 3), i, np.uint8)

    for i, image in enumerate(Restorer(*identity, batch_size=2).restore_images(images())):
        assert (image == i).all()
        assert len(read) <= i + 6


def test_sampled_gates_depend_on_seed_and_index_only(tiny):
    image = picture(12, 16, 3)
    restore = Restorer(*tiny, gate="sample", seed=1)
    first = restore(image, index=0)
    np.testing.assert_array_equal(restore(image, index=0), first)
    others = [restore(image, index=i) for i in range(1, 8)]
    assert any((other != first).any() for other in others)
    in_order = list(restore.restore_images([image] * 4))
    np.testing.assert_array_equal(in_order[3], others[2])


def test_route_image_uses_one_choice_for_all_tiles(tiny, whole):
    config, _ = tiny
    image = picture(24, 40, 3).astype(np.float32) / 255
    plan = plan_tiles(24, 40, 16, 4)
    job = Job(image, 0, plan, 3, 1)
    _, routing = whole.apply(job.overview(0)[None], return_routing=True)
    canvas = Canvas(plan, scale=1, channels=3, dtype=np.dtype(np.float32), channels_per_tile=3)
    for row, column in plan.tiles():
        tile = job.pixels(row, column, 0)[None]
        y = whole.apply(tile, expert=np.asarray(routing.expert))
        canvas.add(row, column, np.asarray(y)[0])
    restored = Restorer(*tiny, tile=16, overlap=4, route="image")(image)
    np.testing.assert_allclose(restored, canvas.image, atol=1e-5)
    assert config.num_layers == len(routing.expert)


def test_auto_tile_follows_the_memory(tiny, monkeypatch):
    monkeypatch.setattr(restorer, "AUTO_TILES", (32, 16))
    image = picture(40, 48, 3)

    def shapes(available):
        monkeypatch.setattr(restorer, "available_bytes", lambda: available)
        restore = Restorer(*tiny, tile="auto", overlap=4)
        restore(image)
        return restore.compiled_shapes

    assert shapes(2**40) == ((1, 40, 48),)
    # Too little for anything: the smallest tiles.
    tiled = shapes(1000)
    assert tiled[-1] == (1, 16, 16)
    assert (1, 40, 48) not in tiled


def test_auto_takes_the_whole_image_by_extrapolation(tiny, monkeypatch):
    monkeypatch.setattr(restorer, "AUTO_TILES", (16,))
    probe = Restorer(*tiny, tile=16, overlap=4)
    probe(picture(16, 16, 3))
    needed = probe._programs.memory_bytes((1, 16, 16))
    # The rough bound says no, the analysis of one tile says that four times as much fits.
    monkeypatch.setattr(restorer, "ROUGH_BYTES", 10**9)
    monkeypatch.setattr(restorer, "available_bytes", lambda: 10 * needed)
    restore = Restorer(*tiny, tile="auto", overlap=4)
    restore(picture(32, 32, 3))
    assert restore.compiled_shapes == ((1, 16, 16), (1, 32, 32))


def test_variables_can_be_exchanged_without_compiling(tiny, whole):
    config, variables = tiny
    image = picture(12, 16, 3)
    whole(image)
    doubled = jax.tree.map(lambda leaf: leaf * 1.01, variables)
    other = whole.with_variables(doubled)
    np.testing.assert_array_equal(other(image), Restorer(config, doubled)(image))
    assert other._programs._compiled is whole._programs._compiled
    np.testing.assert_array_equal(whole(image), Restorer(config, variables)(image))


def test_apply_returns_routing_and_takes_experts(tiny, whole):
    config, variables = tiny
    x = picture(12, 16, 3).astype(np.float32)[None].repeat(2, axis=0) / 255
    y, routing = whole.apply(x, return_routing=True)
    assert routing.expert.shape == (1, 2)
    assert routing.logits.shape == (1, 2, 2)
    np.testing.assert_array_equal(routing.expert, routing.logits.argmax(-1))
    for expert in range(2):
        forced, info = whole.apply(x, expert=expert, return_routing=True)
        assert (info.expert == expert).all()
        expected = jax.jit(build_model(config).apply)(
            variables, jnp.asarray(x), expert=np.full((1, 2), expert, np.int32)
        )
        np.testing.assert_allclose(forced, expected, atol=1e-5)
    chosen = whole.apply(x, expert=np.asarray(routing.expert))
    np.testing.assert_allclose(chosen, y, atol=1e-5)


def test_apply_can_be_differentiated(whole):
    x = jnp.asarray(picture(8, 7, 3), jnp.float32)[None] / 255
    gradient = jax.grad(lambda x: whole.apply(x).sum())(x)
    assert gradient.shape == x.shape
    assert jnp.isfinite(gradient).all()
    assert jnp.abs(gradient).max() > 0


def test_bad_inputs_are_refused(whole):
    image = picture(8, 8, 3)
    with pytest.raises(TypeError, match="float64"):
        whole(image.astype(float))
    with pytest.raises(ValueError, match="alpha"):
        whole(picture(8, 8, 4))
    with pytest.raises(ValueError, match=r"\(0, 8, 3\)"):
        whole(image[:0])
    with pytest.raises(TypeError, match="uint8"):
        whole.apply(image[None])
    with pytest.raises(ValueError, match=r"expected \(B, H, W, 3\)"):
        whole.apply(np.zeros((1, 8, 8, 1), np.float32))
    x = np.zeros((1, 8, 8, 3), np.float32)
    with pytest.raises(ValueError, match="expert is 2"):
        whole.apply(x, expert=2)
    with pytest.raises(ValueError, match=r"expert has shape \(3, 1\)"):
        whole.apply(x, expert=np.zeros((3, 1), np.int32))


def test_bad_options_are_refused(tiny):
    for options, match in (
        ({"tile": "big"}, "tile is 'big'"),
        ({"tile": 15}, "tile is 15"),
        ({"tile": 32, "overlap": 20}, "overlap is 20"),
        ({"batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(ValueError, match=match):
            Restorer(*tiny, **options)


def test_a_network_that_adapts_estimates_the_quality_or_is_told(tiny, make_variables):
    config = dataclasses.replace(tiny[0], quality_range=(17.0, 42.0))
    variables = make_variables(config)
    position = variables["params"]["quality"]["position"]
    position["kernel"] = 0.1 * position["kernel"]  # an estimate that is within the range
    image = picture(16, 16, 3).astype(np.float32) / 255
    params = jax.tree.map(jnp.asarray, variables["params"]["quality"])
    estimate = MeanEstimator(config.quality_range).apply(
        {"params": params}, jnp.asarray(image[None])
    )
    outputs = {}
    for quality in (None, 17.0, 32.5, float(np.asarray(estimate)[0])):
        restore = Restorer(config, variables, coding_quality=quality)
        outputs[quality] = restore(image)
        if quality in (None, 32.5):
            direct = np.asarray(restore.apply(image[None]))[0]
            np.testing.assert_allclose(direct, outputs[quality], atol=1e-5)
    guessed, mild, strong, given = outputs.values()
    np.testing.assert_allclose(given, guessed, atol=1e-5)
    assert np.abs(mild - strong).max() > 0.01
    with pytest.raises(ValueError, match=r"coding_quality is 50.0; this network knows 17 to 42"):
        Restorer(config, variables, coding_quality=50.0)
    with pytest.raises(ValueError, match=r"coding_quality is 30.0, but .* does not adapt to it"):
        Restorer(*tiny, coding_quality=30.0)


@pytest.mark.parametrize("kind", ["released", "windowed"])
def test_tiles_share_the_estimate_of_their_image(tiny, make_variables, kind):
    config = {
        "released": dataclasses.replace(tiny[0], quality_range=(17.0, 42.0)),
        "windowed": dataclasses.replace(
            networks.WINDOWED,
            experts=(),
            share_mixings=True,
            quality_range=(17.0, 42.0),
            quality_estimator="attention",
            specialists=(28.0,),
        ),
    }[kind]
    variables = make_variables(config)
    position = variables["params"]["quality"]["position"]
    scale = 0.1 if kind == "released" else 0.5  # an estimate that is within the range
    position["kernel"] = scale * position["kernel"]
    image = picture(64, 64, 3)
    image[:32] //= 8  # parts that an estimator takes for coded differently
    programs = Programs(config, variables, dtype="float32", sample=False, seed=0)
    seen = image[None].astype(np.float32) / 255
    (whole,), (part,) = programs.estimate(seen), programs.estimate(seen[:, :32])
    assert abs(whole - part) > 0.1
    options = {"tile": 32, "overlap": 8}
    got = Restorer(config, variables, **options)(image)
    told = Restorer(config, variables, coding_quality=float(whole), **options)(image)
    assert np.abs(got.astype(int) - told).max() <= 1  # rounded otherwise
    other = Restorer(config, variables, coding_quality=float(part), **options)(image)
    assert np.abs(got.astype(int) - other).max() > 1


def test_values_that_are_not_finite_are_refused(tiny):
    config, variables = tiny
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), variables)
    with pytest.raises(ValueError, match="not finite"):
        Restorer(config, broken)(picture(8, 8, 3))


def test_bfloat16_is_close(tiny, whole):
    image = picture(12, 16, 3).astype(np.float32) / 255
    y = Restorer(*tiny, dtype="bfloat16")(image)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, whole(image), atol=0.1)


@pytest.mark.parity
@pytest.mark.data
@pytest.mark.slow
def test_released_tiled_test_of_the_reference(shared_dir):
    from armoe_jax import load_pretrained

    restore = load_pretrained(shared_dir / "golden" / "car_tiny.pth", tile="released")
    with np.load(shared_dir / "golden" / "chop.npz") as golden:
        image = golden["input"][0].transpose(1, 2, 0)
        expected = golden["output"][0].transpose(1, 2, 0)
        tolerance = max(10 * float(golden["f64diff/output"]), 1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(restore(image), expected, rtol=0, atol=tolerance)


HUGE = """
import dataclasses, resource, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from networks import RELEASED, random_variables
from armoe_jax.restore import Restorer
config = dataclasses.replace(RELEASED, upsampler="", experts=())
restore = Restorer(config, random_variables(config), tile=512)
restore(np.zeros((600, 600, 3), np.uint8))
image = np.random.default_rng(0).integers(0, 256, (6000, 8000, 3), np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert (restore(image) == image).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_huge_image_takes_bounded_memory(request):
    run = subprocess.run(
        [sys.executable, "-c", HUGE, str(request.path.parents[1])],
        capture_output=True,
        text=True,
        check=True,
    )
    # 48 megapixels: the output takes 144 MB, and so does the comparison (48 bytes a pixel of all
    # three channels would be 2.3 GB in float32 with weights). Bands of 512 rows take 49 MB each.
    assert int(run.stdout) / 1024 < 600
