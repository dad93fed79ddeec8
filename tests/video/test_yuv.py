"""Raw YUV files."""

import pytest

from armoe_jax.video import yuv


class TestFormat:
    def test_plane_shapes_round_chroma_up(self):
        assert yuv.YuvFormat(5, 3, "420").plane_shapes == ((3, 5), (2, 3), (2, 3))
        assert yuv.YuvFormat(5, 3, "422").plane_shapes == ((3, 5), (3, 3), (3, 3))
        assert yuv.YuvFormat(5, 3, "400").plane_shapes == ((3, 5),)

    def test_frame_bytes(self):
        # 5*3 + 2 * (3*2) = 27 samples; two bytes each at 10 bits.
        assert yuv.YuvFormat(5, 3, "420").frame_bytes == 27
        assert yuv.YuvFormat(5, 3, "420", 10).frame_bytes == 54

    @pytest.mark.parametrize("name", ["yuv422p10le", "yuv422p10", "422p10"])
    def test_parses_names(self, name):
        assert yuv.parse_yuv_format(name, 4, 2) == yuv.YuvFormat(4, 2, "422", 10)

    @pytest.mark.parametrize("name", ["nv12", "yuv411p", "yuv420p11", ""])
    def test_refuses_other_names(self, name):
        with pytest.raises(ValueError, match="not a planar format"):
            yuv.parse_yuv_format(name, 4, 2)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((0, 4), "picture size 0x4"),
            ((4, 100_000), "picture size 4x100000"),
            ((4, 4, "411"), "chroma '411'"),
            ((4, 4, "420", 11), "11 bits"),
        ],
    )
    def test_refuses_bad_fields(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            yuv.YuvFormat(*arguments)
