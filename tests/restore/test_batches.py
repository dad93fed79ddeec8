"""Tiles that run together; the network is a stand-in that returns its input."""

import numpy as np
import pytest

from armoe_jax.ops.tiling import plan_tiles, plan_whole
from armoe_jax.restore.batches import Batches
from armoe_jax.restore.jobs import Job


class Copying:
    """Programs that notice what they are asked to run."""

    def __init__(self, *shapes):
        self.shapes = shapes
        self.ran = []

    def run(self, x, bias, samples, steps, estimates):
        assert (bias.shape, steps.shape) == ((1, len(x), 2), (len(x), 64))
        np.testing.assert_array_equal(estimates, np.full(len(x), np.nan))
        self.ran.append((x.shape[:3], [tuple(sample) for sample in samples.tolist()]))
        return x, None


def make_job(index, height=4, width=6, plan=None):
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
    job = Job(image, index, plan or plan_whole(height, width), 3, 1)
    job.biases = [np.zeros((1, 2), np.float32)]
    return image, job


def add(batches, *jobs):
    for job in jobs:
        for tile in job.tiles():
            batches.add(tile)


def test_a_batch_runs_when_it_is_full_and_the_last_is_filled_up():
    programs = Copying()
    batches = Batches(programs, batch_size=2, in_flight=1)
    images, jobs = zip(*(make_job(index) for index in range(3)), strict=True)
    add(batches, *jobs)
    assert programs.ran == [((2, 4, 6), [(0, 0), (1, 0)])]
    assert [job.finished for job in jobs] == [True, True, False]
    batches.flush()
    # A single one, but the program of two is not compiled yet: it runs alone.
    assert programs.ran[1:] == [((1, 4, 6), [(2, 0)])]
    for image, job in zip(images, jobs, strict=True):
        np.testing.assert_array_equal(job.result(), image)


def test_what_remains_is_repeated_where_the_program_is_there():
    programs = Copying((4, 4, 6))
    batches = Batches(programs, batch_size=4, in_flight=1)
    image, job = make_job(5)
    add(batches, job)
    batches.flush()
    assert programs.ran == [((4, 4, 6), [(5, 0)] * 4)]
    np.testing.assert_array_equal(job.result(), image)


def test_tiles_of_different_shapes_are_not_mixed():
    programs = Copying()
    batches = Batches(programs, batch_size=2, in_flight=1)
    images, jobs = zip(make_job(0), make_job(1, 6, 4), make_job(2), make_job(3, 6, 4), strict=True)
    add(batches, *jobs)
    batches.flush()
    assert programs.ran == [((2, 4, 6), [(0, 0), (2, 0)]), ((2, 6, 4), [(1, 0), (3, 0)])]
    for image, job in zip(images, jobs, strict=True):
        np.testing.assert_array_equal(job.result(), image)


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_outputs_are_fetched_when_enough_batches_run(in_flight):
    batches = Batches(Copying(), batch_size=1, in_flight=in_flight)
    jobs = [make_job(index)[1] for index in range(4)]
    add(batches, *jobs)
    assert sum(job.finished for job in jobs) == 4 - (in_flight - 1)
    batches.flush()
    assert all(job.finished for job in jobs)


def test_tiles_of_one_image_are_numbered():
    programs = Copying()
    batches = Batches(programs, batch_size=2, in_flight=1)
    image, job = make_job(7, 20, 32, plan_tiles(20, 32, 16, 4))
    add(batches, job)
    batches.flush()
    numbers = [sample for _, samples in programs.ran for sample in samples]
    assert numbers == [(7, number) for number in range(len(list(job.tiles())))]
    np.testing.assert_allclose(job.result().astype(int), image, atol=1)
