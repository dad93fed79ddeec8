"""The weights that come with the package: where they are, and which suit a file."""

import contextlib
from pathlib import Path

from armoe_jax.images.jpeg_header import is_jpeg

WEIGHTS_FOLDER = Path(__file__).parents[1] / "weights"
"""NAME.safetensors each."""

_SUFFIX = ".safetensors"

JPEG_MODEL = "car_small_jpeg"
CODEC_MODEL = "car_small_vvc"
MODELS = (CODEC_MODEL, JPEG_MODEL)

PURPOSES = {JPEG_MODEL: "JPEG files", CODEC_MODEL: "files other than JPEG"}

JPEG_SUFFIXES = (".jpg", ".jpeg")

_JPEG_CODECS = ("mjpeg", "mjpegb")


def shipped_names() -> list[str]:
    """Returns the names of the weights that come with the package."""
    return sorted(path.stem for path in WEIGHTS_FOLDER.glob(f"*{_SUFFIX}"))


def path_of(name: str) -> Path:
    """Returns the file of weights that come with the package."""
    return WEIGHTS_FOLDER / f"{name}{_SUFFIX}"


def model_for_image(path: Path) -> str:
    """Returns the name of the weights for an image file, by its content, not its name.

    A file that cannot be read is judged by its suffix; whoever opens it will complain.
    """
    jpeg = path.suffix.lower() in JPEG_SUFFIXES
    with contextlib.suppress(OSError):
        jpeg = is_jpeg(path)
    return JPEG_MODEL if jpeg else CODEC_MODEL


def model_for_codec(codec: str) -> str:
    """Returns the name of the weights for a video, by FFmpeg's name of its codec."""
    return JPEG_MODEL if codec in _JPEG_CODECS else CODEC_MODEL
