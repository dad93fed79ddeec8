"""The shape of pixels in files whose muxer PyAV does not tell it.

FFmpeg's Matroska muxer takes it from a field of the stream that PyAV does not set (release 19). It
goes lost where the coded pictures do not state it either (VP9, AV1), unless the ffmpeg program
copies the file with the shape stated.
"""

import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
from av.error import FFmpegError

from armoe_jax.runtime.files import written_beside
from armoe_jax.video.muxer import Muxer
from armoe_jax.video.pyav import as_fraction, open_container


def keep_pixel_aspect(path: Path, muxer: Muxer, aspect: Fraction | None) -> list[str]:
    """Sees to it that a finished file states the shape of its pixels.

    Args:
        path: The file, replaced by a copy if it states another shape.
        muxer: How it was written.
        aspect: Width of a pixel over its height, or None if it is not known.

    Returns:
        Notes for the user: empty, or that the shape is not kept.
    """
    if aspect in (None, 1):
        return []
    try:
        with open_container(str(path)) as written:
            video = written.streams.video[0]
            if as_fraction(video.sample_aspect_ratio) == aspect:
                return []
            display = aspect * video.width / video.height
        _copy_with_aspect(path, muxer, display)
    except (FFmpegError, OSError, ValueError, RuntimeError, subprocess.SubprocessError):
        return [f"pixel aspect {aspect} is not kept"]
    return []


def _copy_with_aspect(path: Path, muxer: Muxer, display: Fraction) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y"]
    command += ["-i", str(path), "-map", "0", "-c", "copy", "-copyts"]
    command += ["-avoid_negative_ts", "disabled", "-aspect", str(display).replace("/", ":")]
    with written_beside(path) as copy:
        subprocess.run([*command, "-f", muxer.name, str(copy)], check=True, capture_output=True)
