"""What pairs are made of, and what a pair without labels says."""

import dataclasses

import numpy as np
import pytest

from input_pipeline.example import Example, Pair

IMAGE = np.zeros((4, 6, 3), np.uint8)


def test_an_example_without_labels_is_of_unknown_coding():
    example = Example(IMAGE, IMAGE)
    assert (example.qp, example.codec, example.log2_step) == (-1, 0, 0.0)
    assert (example.steps, example.on_grid) == (None, False)
    assert Pair("a", IMAGE, IMAGE).coding is None


@pytest.mark.parametrize("made", [Example(IMAGE, IMAGE), Pair("a", IMAGE, IMAGE)])
def test_pairs_cannot_be_changed(made):
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.lq = IMAGE
