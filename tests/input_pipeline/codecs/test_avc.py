import pytest

from input_pipeline.codecs import CodecOptions, get_codec


def arguments(**options):
    return get_codec("avc", CodecOptions(**options)).encoder_arguments(27)


def test_one_fixed_quantiser_for_the_whole_picture():
    given = arguments()
    assert given[given.index("-qp") + 1] == "27"
    assert given[given.index("-preset") + 1] == "medium"
    parameters = given[given.index("-x264-params") + 1].split(":")
    # No offset of intra pictures, no adaptive quantisation.
    assert {"ipratio=1.0", "aq-mode=0", "keyint=1"} <= set(parameters)
    assert "no-deblock=1" not in parameters


def test_the_deblocking_filter_can_be_switched_off():
    given = arguments(preset="fast", disabled_filters=("deblocking",))
    assert given[given.index("-preset") + 1] == "fast"
    assert "no-deblock=1" in given[given.index("-x264-params") + 1].split(":")


def test_lossless_is_not_offered(photo):
    with pytest.raises(ValueError, match="qp 0 is not one of codec avc: 1 to 51"):
        get_codec("avc").code(photo, 0)


def test_streams_are_one_intra_picture_without_messages(photo):
    stream = get_codec("avc", CodecOptions(preset="ultrafast")).code(photo[:16, :16], 40).bitstream
    # Types of units behind start codes: parameter sets (7, 8) and an IDR picture (5).
    units = [part[0] & 31 for part in stream.split(b"\0\0\1")[1:]]
    assert units == [7, 8, 5]
