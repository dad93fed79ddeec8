"""Codecs that make compression artifacts, one file each."""

from input_pipeline.codecs.base import Codec, CodecError, CodecOptions, CodedImage
from input_pipeline.codecs.table import CODEC_IDS, CODECS, get_codec

__all__ = [
    "CODECS",
    "CODEC_IDS",
    "Codec",
    "CodecError",
    "CodecOptions",
    "CodedImage",
    "get_codec",
]
