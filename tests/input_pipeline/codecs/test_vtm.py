"""VTM, played by stand-ins: no build of it is at hand."""

import pytest

from armoe_jax.metrics import psnr
from input_pipeline.codecs import CodecError, CodecOptions, get_codec
from input_pipeline.codecs import vtm as vtm_module

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
def vtm_options(tmp_path, write_program):
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


def test_vtm_needs_its_programs(vtm_options, tmp_path, photo, write_program):
    absent = CodecOptions(**{**vars(vtm_options), "decoder": str(tmp_path / "absent")})
    with pytest.raises(FileNotFoundError, match=r"decoder of codec vtm.*absent is not a file"):
        get_codec("vtm", absent)
    write_program(tmp_path / "EncoderApp", "")
    with pytest.raises(CodecError, match="reported success but wrote nothing"):
        get_codec("vtm", vtm_options).code(photo, 27)
    write_program(tmp_path / "DecoderApp", "raise SystemExit(1)")
    vtm_module._version_of.cache_clear()
    assert "unknown version" in get_codec("vtm", vtm_options).version
