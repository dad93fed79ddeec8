import numpy as np
import pytest

from armoe_jax.metrics import psnr
from input_pipeline.codecs import CodecOptions, get_codec
from input_pipeline.image_files import read_rgb


@pytest.mark.parametrize("filter_", ["alf", "deblocking"])
def test_a_loop_filter_changes_the_picture(filter_, photo):
    on = get_codec("vvc", CodecOptions(preset="faster")).code(photo, 37)
    off = get_codec("vvc", CodecOptions(preset="faster", disabled_filters=(filter_,)))
    assert np.any(off.code(photo, 37).image != on.image)


def test_vvc_codes_at_the_qp_asked_for():
    # The encoder would lower the QP of an intra picture by 3 and adapt it; both are off.
    arguments = " ".join(get_codec("vvc", CodecOptions()).encoder_arguments(27))
    assert "-preset medium -qp 27 -qpa 0 -g 1" in arguments
    assert "intraqpoffset=0:lambdamodifieri=0.8" in arguments
    assert "lambda" not in " ".join(
        get_codec("vvc", CodecOptions(preset="faster")).encoder_arguments(27)
    )


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("qp", "expected"), [(22, 41.063), (37, 28.200)])
def test_vvc_reaches_the_measured_quality(qp, expected, shared_dir):
    # Measured elsewhere with the same encoder on the first Kodak image, window of 500x500, preset
    # faster, on the decoded luma plane; through clean colours luma is rounded once more.
    image = read_rgb(shared_dir / "data/kodak24/01.png")[6:506, 134:634]
    coded = get_codec("vvc", CodecOptions(preset="faster")).code(image, qp)
    assert psnr(coded.image, image) == pytest.approx(expected, abs=0.35 if qp == 22 else 0.05)
