"""What a video is coded with, found out without decoding it."""

from pathlib import Path

from av.error import FFmpegError

from armoe_jax.video.options import BITSTREAM_FORMATS, RAW_SUFFIXES
from armoe_jax.video.pyav import open_container

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
        with open_container(str(path), format=BITSTREAM_FORMATS.get(suffix)) as container:
            streams = container.streams.video
            if not streams or streams[0].codec_context is None:
                return UNKNOWN
            return streams[0].codec_context.codec.canonical_name
    except (FFmpegError, OSError, ValueError):
        return UNKNOWN
