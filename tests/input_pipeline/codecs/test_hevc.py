import pytest

from input_pipeline.codecs import CodecError, CodecOptions, get_codec


def test_changed_bits_of_hevc_are_noticed(photo):
    codec = get_codec("hevc", CodecOptions(preset="ultrafast"))
    stream = bytearray(codec.code(photo, 22).bitstream)
    stream[len(stream) // 2] ^= 4
    with pytest.raises(CodecError, match="decoding hevc"):
        codec.decode(bytes(stream), 64, 96)
