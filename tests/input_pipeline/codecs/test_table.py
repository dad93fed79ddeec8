"""What every codec promises."""

import json

import numpy as np
import pytest

from armoe_jax.metrics import psnr
from input_pipeline.codecs import CODEC_IDS, CODECS, CodecError, CodecOptions, get_codec

FAST = {
    "vvc": CodecOptions(preset="faster"),
    "hevc": CodecOptions(preset="ultrafast"),
    "avc": CodecOptions(preset="ultrafast"),
    "av1": CodecOptions(preset="10"),
    "jpeg": CodecOptions(),
}
COARSE_TO_FINE = {"vvc": (42, 22), "hevc": (42, 22), "avc": (42, 22), "av1": (50, 20)}
COARSE_TO_FINE["jpeg"] = (10, 90)
FILTERS = [(name, filter_) for name in FAST for filter_ in CODECS[name].loop_filters]


def test_every_codec_has_a_name_and_a_number():
    assert all(codec.name == name for name, codec in CODECS.items())
    assert set(CODEC_IDS) == {"", *CODECS}
    assert len(set(CODEC_IDS.values())) == len(CODEC_IDS)


@pytest.mark.parametrize("name", FAST)
def test_finer_quality_costs_bits_and_gains_psnr(name, photo):
    codec = get_codec(name, FAST[name])
    coarse, fine = (codec.code(photo, quality) for quality in COARSE_TO_FINE[name])
    assert coarse.image.shape == fine.image.shape == photo.shape
    assert fine.bits > coarse.bits
    assert psnr(fine.image, photo) > psnr(coarse.image, photo) > 18
    assert fine.bits == 8 * len(fine.bitstream)
    assert fine.bits_per_pixel == pytest.approx(fine.bits / (64 * 96))


@pytest.mark.parametrize("name", FAST)
def test_odd_sizes_and_repetition(name, photo):
    codec = get_codec(name, FAST[name])
    odd = photo[:33, :35]
    first, second = codec.code(odd, 30), codec.code(odd, 30)
    assert first.image.shape == (33, 35, 3)
    assert first.bitstream == second.bitstream
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(codec.decode(first.bitstream, 33, 35), first.image)


@pytest.mark.parametrize("name", FAST)
def test_settings_are_json_and_tell_options_apart(name):
    settings = get_codec(name, FAST[name]).settings
    assert json.loads(json.dumps(settings)) == settings
    assert get_codec(name, FAST[name]).version


@pytest.mark.parametrize(("name", "filter_"), FILTERS)
def test_each_loop_filter_can_be_switched_off(name, filter_, photo):
    options = FAST[name]
    switched = get_codec(name, CodecOptions(preset=options.preset, disabled_filters=(filter_,)))
    assert switched.settings != get_codec(name, options).settings
    assert switched.code(photo[:48, :48], 37).image.shape == (48, 48, 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vvc", CodecOptions(preset="fastest"), "preset 'fastest'.*'faster'"),
        ("vvc", CodecOptions(colors="dirty"), "colors 'dirty'.*'clean', 'paper'"),
        ("vvc", CodecOptions(subsampling="4:4:4"), "subsampling '4:4:4'"),
        ("vvc", CodecOptions(disabled_filters=("lmcs",)), "loop filter 'lmcs'.*'alf'"),
        ("vvc", CodecOptions(lambda_modifier=-1.0), "lambda_modifier is -1.0"),
        ("hevc", CodecOptions(lambda_modifier=0.8), "hevc has no option lambda_modifier"),
        ("jpeg", CodecOptions(colors="paper"), "colors 'paper' is not one of codec jpeg"),
        ("jpeg", CodecOptions(preset="fast"), "preset 'fast' is not one of codec jpeg: none"),
        ("vtm", CodecOptions(), "codec vtm needs encoder"),
    ],
)
def test_wrong_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        get_codec(name, options)


def test_unknown_codec():
    with pytest.raises(KeyError, match="codec 'vp9' is unknown; choose one of vvc"):
        get_codec("vp9")


def test_wrong_quality_and_too_small_images(photo):
    codec = get_codec("vvc", FAST["vvc"])
    with pytest.raises(ValueError, match="qp 64 is not one of codec vvc: 0 to 63"):
        codec.code(photo, 64)
    with pytest.raises(CodecError, match=r"8x40 is too small for codec vvc.*16 pixels"):
        codec.code(photo[:40, :8], 32)


@pytest.mark.parametrize("name", FAST)
def test_damaged_bitstreams_are_refused(name, photo):
    codec = get_codec(name, FAST[name])
    stream = codec.code(photo, COARSE_TO_FINE[name][1]).bitstream
    for damaged in (b"", stream[:20], stream[: len(stream) // 2], b"no bitstream" * 40):
        with pytest.raises(CodecError, match=name):
            codec.decode(damaged, 64, 96)
    with pytest.raises(CodecError, match=r"bytes|expected 64x64"):
        codec.decode(stream, 64, 64)


@pytest.mark.parametrize(("name", "text"), [("vvc", b"ALF"), ("hevc", b"x265"), ("avc", b"x264")])
def test_streams_hold_no_messages_of_the_encoder(name, text, photo):
    assert text not in get_codec(name, FAST[name]).code(photo, 30).bitstream
