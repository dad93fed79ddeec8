"""What a video is coded with, found out without decoding it."""

from pathlib import Path

import av
from av.error import FFmpegError

from armoe_jax.video.options import BITSTREAM_FORMATS, RAW_SUFFIXES

RAW = "rawvideo"
UNKNOWN = ""


def codec_of(path: Path) -> str:
    """Returns FFmpeg's name of the codec of the first video stream, such as "hevc" or "mjpeg".

    Returns:
        "rawvideo" for .y4m and .yuv; "" for what cannot be opened as a video, of which reading it
        will say why.
    """
    suffix = path.suffix.lower()
    if suffix in RAW_SUFFIXES:
        return RAW
    try:
        with av.open(str(path), format=BITSTREAM_FORMATS.get(suffix)) as container:
            streams = container.streams.video
            return streams[0].codec_context.codec.canonical_name if streams else UNKNOWN
    except (FFmpegError, OSError, ValueError):
        return UNKNOWN
