"""What can be chosen about a video: the options, their command-line flags, the encoder table."""

import argparse
import dataclasses
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

from armoe_jax.video.color import LUMA_WEIGHTS, SITINGS

BITSTREAM_FORMATS = {
    ".264": "h264",
    ".avc": "h264",
    ".h264": "h264",
    ".265": "hevc",
    ".h265": "hevc",
    ".hevc": "hevc",
    ".266": "vvc",
    ".h266": "vvc",
    ".vvc": "vvc",
}
"""Suffix of a bare bitstream (no container, no time stamps) -> FFmpeg's name of its format."""

_CONTAINERS = (
    ".mp4 .m4v .mov .mkv .webm .avi .ts .m2ts .mts .mpg .mpeg .flv .wmv .ogv .3gp .mxf .ivf .obu"
)
RAW_SUFFIXES = frozenset({".y4m", ".yuv"})
VIDEO_SUFFIXES = frozenset(_CONTAINERS.split()) | RAW_SUFFIXES | frozenset(BITSTREAM_FORMATS)

ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "10", "preset": "medium"},
    "libx265": {"crf": "12", "preset": "medium", "x265-params": "log-level=error"},
    "libsvtav1": {"crf": "10", "preset": "6", "svtav1-params": "rc=0"},
    "libvpx": {"crf": "4", "b": "100M", "cpu-used": "1"},
    "libvpx-vp9": {"crf": "12", "b": "0", "row-mt": "1"},
    "ffv1": {"level": "3", "slicecrc": "1"},
}
"""Encoder -> options that keep what was restored; `ffv1` is lossless. Others run on their own.

Restoring gains tenths of a decibel, which encoding must not take back: at these qualities it costs
under 0.1 dB of a video of 34.6 dB PSNR-Y (x264's usual crf 16 costs 0.28 dB).
"""

_DEFAULT_ENCODERS = {
    ".ivf": "libsvtav1",
    ".obu": "libsvtav1",
    ".ogv": "libvpx",
    ".webm": "libvpx-vp9",
}


def is_video(path: str | os.PathLike) -> bool:
    """Says whether a path has the suffix of a video (the file is not opened)."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


@dataclasses.dataclass(frozen=True)
class VideoOptions:
    """How a video is read and written. None means: as the input has it, or the default.

    Attributes:
        codec: FFmpeg's name of the encoder, for example "libx264", "ffv1".
        crf: Constant quality of the encoder; smaller is better.
        preset: Speed setting of the encoder.
        pixel_format: Format of the encoded samples, for example "yuv420p10le".
        encoder_options: Further (name, value) pairs for the encoder.
        yuv_size: (width, height) in pixels of a headerless .yuv input.
        yuv_format: Its planar sample format.
        fps: Frame rate of an input that has no time stamps (.yuv, bare bitstreams).
        color_matrix: Overrides the input's tag: a key of `armoe_jax.video.color.LUMA_WEIGHTS`.
        color_range: Overrides the input's tag: "limited" or "full".
        chroma_siting: Overrides the assumption "left": a key of `armoe_jax.video.color.SITINGS`.
        audio: Whether sound and subtitles are copied.
        queue_depth: Frames waiting at most between decoding, restoring and encoding.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pixel_format: str | None = None
    encoder_options: tuple[tuple[str, str], ...] = ()
    yuv_size: tuple[int, int] | None = None
    yuv_format: str = "yuv420p"
    fps: Fraction | None = None
    color_matrix: str | None = None
    color_range: str | None = None
    chroma_siting: str | None = None
    audio: bool = True
    queue_depth: int = 4


def default_encoder(suffix: str) -> str:
    """Returns the encoder for an output suffix, where none is chosen."""
    return _DEFAULT_ENCODERS.get(suffix, "libx264")


def encoder_settings(suffix: str, options: VideoOptions) -> tuple[str, dict[str, str]]:
    """Returns the encoder for an output suffix and its settings.

    Raises:
        ValueError: If constant quality is asked of an encoder that has none.
    """
    codec = options.codec or default_encoder(suffix)
    settings = dict(ENCODERS.get(codec, {}))
    if options.crf is not None:
        if codec == "ffv1":
            raise ValueError(f"--crf {options.crf:g} with ffv1: it is lossless and has no quality")
        settings["crf"] = f"{options.crf:g}"
    if options.preset is not None:
        settings["preset"] = options.preset
    settings.update(options.encoder_options)
    return codec, settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of videos to a command's parser; read them with `options_from_args`."""
    group = parser.add_argument_group("video")
    group.add_argument(
        "--video-codec", metavar="NAME", help="encoder (default libx264; ffv1 is lossless)"
    )
    group.add_argument("--crf", type=float, metavar="Q", help="constant quality of the encoder")
    group.add_argument("--video-preset", metavar="P", help="speed setting of the encoder")
    group.add_argument(
        "--pixel-format", metavar="FMT", help="samples of the output, e.g. yuv420p10le"
    )
    group.add_argument(
        "--encoder-option", type=_pair, action="append", default=[], metavar="NAME=VALUE",
        help="a further option of the encoder; may be given several times",
    )  # fmt: skip
    add_sample_arguments(group)
    group.add_argument(
        "--fps", type=_rate, metavar="N[/D]",
        help="frame rate of an input without time stamps (.yuv, bare bitstreams; default 25)",
    )  # fmt: skip
    group.add_argument("--no-audio", action="store_true", help="leave out sound and subtitles")


def add_sample_arguments(group: Any) -> None:
    """Adds the flags that say what samples mean; read them with `sample_options`."""
    group.add_argument("--yuv-size", type=_size, metavar="WxH", help="size of a headerless .yuv")
    group.add_argument("--yuv-format", default="yuv420p", metavar="FMT", help="its sample format")
    group.add_argument(
        "--color-matrix", choices=sorted(LUMA_WEIGHTS),
        help="overrides the video's tag; without a tag bt709 from 720 lines, else bt601",
    )  # fmt: skip
    group.add_argument(
        "--color-range", choices=("limited", "full"), help="overrides the video's tag"
    )
    group.add_argument(
        "--chroma-siting", choices=sorted(SITINGS), help="position of chroma samples (default left)"
    )


def options_from_args(args: argparse.Namespace) -> VideoOptions:
    """Collects the flags added by `add_arguments`."""
    return dataclasses.replace(
        sample_options(args),
        codec=args.video_codec,
        crf=args.crf,
        preset=args.video_preset,
        pixel_format=args.pixel_format,
        encoder_options=tuple(args.encoder_option),
        fps=args.fps,
        audio=not args.no_audio,
    )


def sample_options(args: argparse.Namespace) -> VideoOptions:
    """Collects the flags added by `add_sample_arguments`; the rest is default."""
    return VideoOptions(
        yuv_size=args.yuv_size,
        yuv_format=args.yuv_format,
        color_matrix=args.color_matrix,
        color_range=args.color_range,
        chroma_siting=args.chroma_siting,
    )


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, e.g. 416x240") from None
    return width, height


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate, e.g. 25 or 30000/1001") from None
    if rate <= 0:
        raise argparse.ArgumentTypeError(f"rate {text!r} is not positive")
    return rate


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
