"""What only a GPU shows: what its products of fewer bits cost, and what a program takes of it."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from armoe_jax import load_pretrained, psnr
from armoe_jax.checkpoints.shipped import JPEG_MODEL
from input_pipeline.embedded import embedded_images
from input_pipeline.image_files import read_image
from input_pipeline.transforms import code_as_jpeg

QUALITIES = (10, 50, 90)
LIMIT_DB = 0.01

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.fixture(scope="module")
def pairs():
    """Decoded photographs beside their originals, of coarse to fine coding."""
    originals = [read_image(path) for path in embedded_images("eval")]
    return [
        (code_as_jpeg(image, quality, "4:2:0")[0], image)
        for image in originals
        for quality in QUALITIES
    ]


def restored_psnr(pairs, *, precision, dtype="float32"):
    """Returns the PSNR-Y of each restored image; programs are compiled for this precision."""
    with jax.default_matmul_precision(precision):
        restore = load_pretrained(JPEG_MODEL, dtype=dtype)
        return np.array([psnr(restore(coded), original) for coded, original in pairs])


@pytest.fixture(scope="module")
def exact(pairs):
    return restored_psnr(pairs, precision="highest")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fewer_bits_cost_less_than_a_hundredth_of_a_decibel(pairs, exact, dtype, record_property):
    quick = restored_psnr(pairs, precision="default", dtype=dtype)
    record_property("decibels", np.round(quick - exact, 5).tolist())
    assert np.abs(quick - exact).max() < LIMIT_DB


PREDICTED_AND_USED = """
import json, sys
import jax
import numpy as np
from armoe_jax.benchmark.measure import random_variables
from armoe_jax.models import VARIANTS
from armoe_jax.restore.programs import Programs
config, shape = VARIANTS[sys.argv[1]], tuple(json.loads(sys.argv[2]))
programs = Programs(config, random_variables(config), dtype="float32", sample=False, seed=0)
predicted = programs.memory_bytes(shape)
device = jax.local_devices()[0]
before = device.memory_stats()["bytes_in_use"]
x = np.zeros((*shape, config.in_chans), np.float32)
bias = np.zeros((config.num_layers, shape[0], len(config.experts)), np.float32)
jax.block_until_ready(programs.run(x, bias, np.zeros((shape[0], 2), np.uint32)))
print(json.dumps([predicted, device.memory_stats()["peak_bytes_in_use"] - before]))
"""


@pytest.mark.parametrize(
    ("variant", "shape"),
    [("car", [1, 256, 256]), ("car", [2, 512, 384]), ("light_sr_x2", [1, 512, 512])],
)
def test_auto_tiling_predicts_what_the_card_uses(variant, shape, record_property):
    # In a process of its own: the allocator's peak is never reset.
    done = subprocess.run(
        [sys.executable, "-c", PREDICTED_AND_USED, variant, json.dumps(shape)],
        capture_output=True,
        text=True,
        check=True,
    )
    predicted, used = json.loads(done.stdout)
    record_property("mebibytes", {"predicted": predicted / 2**20, "used": used / 2**20})
    assert predicted == pytest.approx(used, rel=0.2)
