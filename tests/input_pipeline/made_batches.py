"""Training batches, and their comparison."""

import numpy as np

from input_pipeline.pipeline import train_dataset


def batches(config, *, steps=(0, 1, 2), **options):
    dataset = train_dataset(config, **{"batch_size": 4, "seed": 5, **options})
    return [dataset[step] for step in steps]


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, two in zip(first, second, strict=True):
        assert set(one) == set(two) == {"lq", "gt", "qp", "codec", "log2_step", "steps"}
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])
