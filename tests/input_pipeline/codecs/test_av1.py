from input_pipeline.codecs import CodecOptions, get_codec


def parameters(**options):
    given = get_codec("av1", CodecOptions(**options)).encoder_arguments(35)
    assert given[given.index("-crf") + 1] == "35"
    return given[given.index("-svtav1-params") + 1].split(":")


def test_filters_are_switched_by_name():
    assert parameters() == ["avif=1", "lp=1"]
    assert parameters(disabled_filters=("restoration", "cdef")) == [
        *("avif=1", "lp=1"),
        *("enable-cdef=0", "enable-restoration=0"),
    ]


def test_bitstreams_are_still_pictures_in_avif(photo):
    stream = get_codec("av1", CodecOptions(preset="10")).code(photo[:32, :32], 50).bitstream
    # A box of file type, and its brand.
    assert stream[4:12] == b"ftypavif"
