"""What is recorded beside a restored image; the network is a stand-in."""

import dataclasses
import types

import numpy as np
import pytest
from jpeg_parts import cut_out

from armoe_jax.evaluation.recording import recording_experts
from armoe_jax.images.jpeg import encode_jpeg


@dataclasses.dataclass
class StandIn:
    """Returns images in the negative, and the given choices of three experts."""

    expert: np.ndarray
    experts: tuple[str, ...] = ("dct", "fft", "haar")

    def __post_init__(self):
        self.config = types.SimpleNamespace(experts=self.experts, in_chans=3)
        self.told = []

    def apply(self, x, *, return_routing, steps):
        self.told.append(steps)
        return 1 - x, types.SimpleNamespace(expert=self.expert)


IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("expert", "recorded"),
    [
        ([[2], [0]], (2, 0)),
        # Three of four windows took 1; of equally many, the first expert counts.
        ([[[1, 0, 1, 1]], [[2, 0, 2, 0]]], (1, 0)),
    ],
)
def test_the_choice_of_each_layer_is_recorded(expert, recorded):
    restored = recording_experts(StandIn(np.array(expert, np.int32)))(IMAGE)
    assert restored.expert == recorded
    np.testing.assert_array_equal(restored.image, 255 - IMAGE)
    assert restored.image.dtype == np.uint8


def test_quantiser_steps_are_told_where_the_image_begins_with_a_block():
    restorer = StandIn(np.zeros((1, 1), np.int32))
    restore = recording_experts(restorer)
    image, coding = encode_jpeg(IMAGE, quality=50)
    restore(image, coding=coding)
    restore(image[3:], coding=cut_out(coding, 3, 0, 13, 16))
    restore(image)
    told, *untold = restorer.told
    assert (told.shape, told.dtype) == ((1, 64), np.float32)
    # The first steps of Annex K, which are libjpeg's at quality 50.
    np.testing.assert_array_equal(told[0, :4], [16, 11, 10, 16])
    assert untold == [None, None]


def test_networks_and_images_of_other_kinds_are_refused():
    expert = np.zeros((1, 1), np.int32)
    with pytest.raises(ValueError, match="no experts whose use could be recorded"):
        recording_experts(StandIn(expert, experts=()))
    with pytest.raises(ValueError, match="the image has 1 channels, the network 3"):
        recording_experts(StandIn(expert))(IMAGE[..., :1])
