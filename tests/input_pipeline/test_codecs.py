import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from armoe_jax.metrics import psnr
from input_pipeline.codecs import CODEC_IDS, CODECS, CodecError, CodecOptions, get_codec
from input_pipeline.codecs import ffmpeg as ffmpeg_module
from input_pipeline.codecs import vtm as vtm_module

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


def write_program(path: Path, body: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


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


@pytest.mark.parametrize("filter_", ["alf", "deblocking"])
def test_a_loop_filter_changes_the_picture(filter_, photo):
    on = get_codec("vvc", FAST["vvc"]).code(photo, 37)
    off = get_codec("vvc", CodecOptions(preset="faster", disabled_filters=(filter_,)))
    assert np.any(off.code(photo, 37).image != on.image)


def test_vvc_codes_at_the_qp_asked_for():
    # The encoder would lower the QP of an intra picture by 3 and adapt it; both are off.
    arguments = " ".join(get_codec("vvc", CodecOptions()).encoder_arguments(27))
    assert "-preset medium -qp 27 -qpa 0 -g 1" in arguments
    assert "intraqpoffset=0:lambdamodifieri=0.8" in arguments
    assert "lambda" not in " ".join(get_codec("vvc", FAST["vvc"]).encoder_arguments(27))


def test_jpeg_subsampling_costs_bits(photo):
    full = get_codec("jpeg", CodecOptions(subsampling="4:4:4")).code(photo, 50)
    assert full.bits > get_codec("jpeg").code(photo, 50).bits


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


def test_changed_bits_of_hevc_are_noticed(photo):
    codec = get_codec("hevc", FAST["hevc"])
    stream = bytearray(codec.code(photo, 22).bitstream)
    stream[len(stream) // 2] ^= 4
    with pytest.raises(CodecError, match="decoding hevc"):
        codec.decode(bytes(stream), 64, 96)


def test_missing_program(monkeypatch, tmp_path, photo):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "ffmpeg"))
    with pytest.raises(FileNotFoundError, match="IMAGEIO_FFMPEG_EXE"):
        get_codec("vvc", FAST["vvc"])


def test_program_without_the_encoder(monkeypatch, tmp_path):
    program = write_program(tmp_path / "ffmpeg", "print(' V..... libx264  H.264')")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(FileNotFoundError, match="no encoder libvvenc"):
        get_codec("vvc", FAST["vvc"])


def test_crashing_program_shows_its_last_line(monkeypatch, tmp_path, photo):
    codec = get_codec("avc", FAST["avc"])
    body = "import sys; sys.stderr.write('warming up\\nboom: out of registers\\n\\n'); sys.exit(3)"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(write_program(tmp_path / "ffmpeg", body)))
    with pytest.raises(CodecError, match="status 3: boom: out of registers"):
        codec.code(photo, 30)


def test_silent_program_is_noticed(monkeypatch, tmp_path, photo):
    codec = get_codec("avc", FAST["avc"])
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(write_program(tmp_path / "ffmpeg", "")))
    with pytest.raises(CodecError, match="got 0 bytes, expected 9216"):  # 64 * 96 * 3 / 2
        codec.code(photo, 30)


def test_hanging_program_is_stopped(monkeypatch, tmp_path):
    program = write_program(tmp_path / "ffmpeg", "import time; time.sleep(60)")
    monkeypatch.setattr(ffmpeg_module, "TIMEOUT_S", 0.2)
    with pytest.raises(CodecError, match="took longer than"):
        ffmpeg_module.run_program([str(program)], what="waiting")


# A stand-in for VTM: it checks its command line as the real programs would and "codes" by copying.
VTM_ENCODER = """
import sys
arguments = sys.argv[1:]
assert arguments[0] == "-c" and open(arguments[1]).read().startswith("# cfg")
values = dict(item.removeprefix("--").split("=", 1) for item in arguments[2:])
expected = dict(SourceWidth="36", SourceHeight="34", InputBitDepth="8", InternalBitDepth="10",
                InputChromaFormat="420", ChromaFormatIDC="420", FrameRate="1",
                FramesToBeEncoded="1", PerceptQPA="0", ConformanceWindowMode="1",
                SEIDecodedPictureHash="1", QP="27", ALF="0", CCALF="0", LMCSEnable="0",
                ReconFile="")
source, target = values.pop("InputFile"), values.pop("BitstreamFile")
if values != expected:
    sys.exit(f"unexpected arguments {set(values.items()) ^ set(expected.items())}")
planes = open(source, "rb").read()
assert len(planes) == 36 * 34 * 3 // 2
open(target, "wb").write(b"VTM" + planes)
"""
VTM_DECODER = """
import sys
if sys.argv[1:] == ["--help"]:
    print("VVCSoftware: VTM Decoder Version 20.0 [Linux]"); sys.exit(0)
bitstream, source, output, target, depth, bits = sys.argv[1:]
assert (bitstream, output, depth, bits) == ("-b", "-o", "-d", "8")
data = open(source, "rb").read()
if data[:3] != b"VTM": sys.exit("not a bitstream")
open(target, "wb").write(data[3:])
"""


@pytest.fixture
def vtm_options(tmp_path):
    config = tmp_path / "encoder_intra_vtm.cfg"
    config.write_text("# cfg\nInternalBitDepth : 10   # codec bit depth\n\nIntraPeriod: 1\n")
    return CodecOptions(
        encoder=str(write_program(tmp_path / "EncoderApp", VTM_ENCODER)),
        decoder=str(write_program(tmp_path / "DecoderApp", VTM_DECODER)),
        encoder_config=str(config),
        disabled_filters=("alf", "lmcs"),
    )


def test_vtm_command_lines(vtm_options, photo):
    codec = get_codec("vtm", vtm_options)
    coded = codec.code(photo[:33, :35], 27)  # padded to 34x36 for the encoder
    assert coded.image.shape == (33, 35, 3)
    assert coded.bitstream[:3] == b"VTM"
    assert psnr(coded.image, photo[:33, :35]) > 35  # only the colour conversion loses something
    assert codec.version == "VVCSoftware: VTM Decoder Version 20.0 [Linux]"
    assert codec.settings["encoder_config"] == ["InternalBitDepth : 10", "IntraPeriod: 1"]
    with pytest.raises(
        CodecError, match=r"EncoderApp ended with status 1: unexpected arguments.*28"
    ):
        codec.code(photo[:33, :35], 28)
    with pytest.raises(CodecError, match="DecoderApp ended with status 1: not a bitstream"):
        codec.decode(b"damaged", 33, 35)


def test_vtm_needs_its_programs(vtm_options, tmp_path, photo):
    absent = CodecOptions(**{**vars(vtm_options), "decoder": str(tmp_path / "absent")})
    with pytest.raises(FileNotFoundError, match=r"decoder of codec vtm.*absent is not a file"):
        get_codec("vtm", absent)
    write_program(tmp_path / "EncoderApp", "")
    with pytest.raises(CodecError, match="reported success but wrote nothing"):
        get_codec("vtm", vtm_options).code(photo, 27)
    write_program(tmp_path / "DecoderApp", "raise SystemExit(1)")
    vtm_module._version_of.cache_clear()
    assert "unknown version" in get_codec("vtm", vtm_options).version


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("qp", "expected"), [(22, 41.063), (37, 28.200)])
def test_vvc_reaches_the_measured_quality(qp, expected, shared_dir):
    # Measured elsewhere with the same encoder on the first Kodak image, window of 500x500, preset
    # faster, on the decoded luma plane; through clean colours luma is rounded once more.
    from input_pipeline.image_files import read_rgb

    image = read_rgb(shared_dir / "data/kodak24/01.png")[6:506, 134:634]
    coded = get_codec("vvc", FAST["vvc"]).code(image, qp)
    assert psnr(coded.image, image) == pytest.approx(expected, abs=0.35 if qp == 22 else 0.05)
