from input_pipeline.codecs import CodecOptions, get_codec


def test_jpeg_subsampling_costs_bits(photo):
    full = get_codec("jpeg", CodecOptions(subsampling="4:4:4")).code(photo, 50)
    assert full.bits > get_codec("jpeg").code(photo, 50).bits
