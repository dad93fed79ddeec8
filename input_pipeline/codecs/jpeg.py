"""JPEG by Pillow (libjpeg-turbo), with its quality scale and chroma subsampling."""

import io
from typing import Any, ClassVar

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError, features

from input_pipeline.codecs.base import RGB, Codec, CodecError


class JPEG(Codec):
    """Baseline JPEG. Full-range colours are a part of the format: `clean` is the only choice."""

    name = "jpeg"
    suffix = ".jpg"
    quality_name = "quality"
    quality_range = (1, 100)
    subsamplings = ("4:2:0", "4:2:2", "4:4:4")
    colors: ClassVar[tuple[str, ...]] = ("clean",)

    @property
    def version(self) -> str:
        """See `Codec.version`."""
        library = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
        return f"Pillow {PIL.__version__}, libjpeg-turbo {library}"

    @property
    def settings(self) -> dict[str, Any]:
        """See `Codec.settings`."""
        return {"subsampling": self.subsampling}

    def encode(self, image: RGB, quality: int) -> bytes:
        """See `Codec.encode`."""
        return encode_jpeg(image, quality, self.subsampling)

    def decode(self, bitstream: bytes, height: int, width: int) -> RGB:
        """See `Codec.decode`."""
        try:
            with Image.open(io.BytesIO(bitstream), formats=("JPEG",)) as picture:
                image = np.asarray(picture.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise CodecError(f"decoding {self.name}: {error}") from error
        if image.shape != (height, width, 3):
            seen = f"{image.shape[1]}x{image.shape[0]}"
            raise CodecError(f"decoding {self.name}: got {seen}, expected {width}x{height}")
        return image


def encode_jpeg(image: np.ndarray, quality: int, subsampling: str) -> bytes:
    """Returns the JPEG file of a uint8 image, RGB (H, W, 3) or gray (H, W)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()
