"""VVC by the reference software VTM, with programs that the user has built."""

import functools
import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from input_pipeline.codecs.base import CodecError, CodecOptions
from input_pipeline.codecs.color import check_size, yuv420_size
from input_pipeline.codecs.ffmpeg import run_program
from input_pipeline.codecs.video import VideoCodec

ENCODER_SWITCHES = (
    "--InputBitDepth=8",
    "--InternalBitDepth=10",
    "--InputChromaFormat=420",
    "--ChromaFormatIDC=420",
    "--FrameRate=1",
    "--FramesToBeEncoded=1",
    "--PerceptQPA=0",
    "--ConformanceWindowMode=1",
    "--SEIDecodedPictureHash=1",
)
"""Beside `-c encoder_intra_vtm.cfg`, the sizes, the files and the QP."""


class VTM(VideoCodec):
    """EncoderApp and DecoderApp of VTM, the codec of published VVC figures.

    `CodecOptions.encoder`, `.decoder` and `.encoder_config` say where the two programs and
    `cfg/encoder_intra_vtm.cfg` are. About 150 times slower than libvvenc's `faster`.
    """

    name = "vtm"
    suffix = ".266"
    quality_range = (0, 63)
    loop_filters = ("alf", "ccalf", "sao", "deblocking", "lmcs")
    takes = ("encoder", "decoder", "encoder_config")
    min_side = 16

    _switches: ClassVar[dict[str, str]] = {
        "alf": "--ALF=0",
        "ccalf": "--CCALF=0",
        "sao": "--SAO=0",
        "deblocking": "--DeblockingFilterDisable=1",
        "lmcs": "--LMCSEnable=0",
    }

    def __init__(self, options: CodecOptions) -> None:
        super().__init__(options)
        for name in self.takes:
            _require_file(name, getattr(options, name))

    @property
    def version(self) -> str:
        """See `Codec.version`: the line in which the decoder names itself."""
        return _version_of(self.options.decoder)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec.settings`; the configuration file counts with its contents, not its place."""
        lines = Path(self.options.encoder_config).read_text(errors="replace").splitlines()
        stripped = [" ".join(line.split("#")[0].split()) for line in lines]
        return {
            **super().settings,
            "encoder_config": [line for line in stripped if line],
            "encoder_arguments": " ".join(self._switches_for("QP")),
        }

    def _switches_for(self, quality: int | str) -> list[str]:
        disabled = set(self.options.disabled_filters)
        if "alf" in disabled:
            disabled.add("ccalf")
        return [
            *ENCODER_SWITCHES,
            *(self._switches[name] for name in sorted(disabled)),
            f"--QP={quality}",
        ]

    def encode_planes(self, planes: bytes, height: int, width: int, quality: int) -> bytes:
        """See `VideoCodec.encode_planes`."""
        with tempfile.TemporaryDirectory(prefix="armoe-") as folder:
            source, coded = Path(folder) / "input.yuv", Path(folder) / "coded.266"
            source.write_bytes(planes)
            run_program(
                [
                    *(self.options.encoder, "-c", self.options.encoder_config),
                    *(f"--InputFile={source}", f"--BitstreamFile={coded}", "--ReconFile="),
                    *(f"--SourceWidth={width}", f"--SourceHeight={height}"),
                    *self._switches_for(quality),
                ],
                what="encoding vtm",
            )
            return _read_output(coded, "encoding vtm")

    def decode_planes(self, bitstream: bytes, height: int, width: int) -> bytes:
        """See `VideoCodec.decode_planes`."""
        with tempfile.TemporaryDirectory(prefix="armoe-") as folder:
            coded, decoded = Path(folder) / "coded.266", Path(folder) / "decoded.yuv"
            coded.write_bytes(bitstream)
            run_program(
                [self.options.decoder, "-b", str(coded), "-o", str(decoded), "-d", "8"],
                what="decoding vtm",
            )
            planes = _read_output(decoded, "decoding vtm")
        return check_size(planes, yuv420_size(height, width), "decoding vtm")


def _require_file(option: str, path: str) -> None:
    if not path:
        raise ValueError(
            f"codec vtm needs {option}: give the path with --vtm-{option.replace('_', '-')} "
            "(EncoderApp, DecoderApp and cfg/encoder_intra_vtm.cfg of a VTM build)"
        )
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{option} of codec vtm: {path} is not a file")


def _read_output(path: Path, what: str) -> bytes:
    data = path.read_bytes() if path.is_file() else b""
    if not data:
        raise CodecError(f"{what}: the program reported success but wrote nothing")
    return data


@functools.lru_cache(maxsize=8)
def _version_of(decoder: str) -> str:
    """Returns the decoder's banner; run without arguments it prints that and its help."""
    try:
        output = run_program([decoder, "--help"], what="asking VTM for its version")
    except CodecError as error:
        return f"VTM of unknown version ({error})"
    lines = [line.strip() for line in output.decode(errors="replace").splitlines()]
    banner = [line for line in lines if "VTM" in line]
    return banner[0] if banner else "VTM of unknown version"
