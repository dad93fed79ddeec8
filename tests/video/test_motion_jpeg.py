"""Frames of Motion JPEG tell how they were coded."""

import io
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from armoe_jax.images.jpeg import read_jpeg_coding
from armoe_jax.video import VideoOptions, restore_video
from armoe_jax.video.container_source import ContainerSource


def frame(number: int) -> np.ndarray:
    y, x = np.mgrid[:38, :52]
    smooth = np.stack([4 * x + number, 3 * y + 50, 220 - 2 * x], -1)
    return np.clip(smooth + np.random.default_rng(number).normal(0, 9, smooth.shape), 0, 255)


def jpeg(number: int, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame(number).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def without_huffman_tables(data: bytes) -> bytes:
    """As cameras write into AVI: APP0 says AVI1, and the tables are those that everybody knows."""
    parts, position = [data[:2], b"\xff\xe0\x00\x10AVI1" + bytes(10)], 2
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position + 1] not in (0xE0, 0xC4):
            parts.append(data[position:end])
        position = end
    return b"".join([*parts, data[position:]])


def write_avi(path, packets: list[bytes]):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 52, 38, "yuvj420p"
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base = Fraction(1, 25)
            packet.is_keyframe = True
            container.mux(packet)
    return path


class Recorder:
    """Changes nothing; keeps what it is told."""

    def __init__(self, interval_head: bool):
        self.config = SimpleNamespace(interval_head=interval_head)
        self.codings: list[object] = []

    def __call__(self, rgb, **told):
        self.codings.append(told.get("coding"))
        return rgb


@pytest.mark.parametrize("strip", [bytes, without_huffman_tables], ids=["as files", "AVI1"])
def test_each_frame_is_restored_with_its_own_coding(tmp_path, strip):
    files = [jpeg(number, quality) for number, quality in enumerate((30, 50, 80))]
    path = write_avi(tmp_path / "in.avi", [strip(data) for data in files])
    recorder = Recorder(interval_head=True)
    restore_video(path, tmp_path / "out.avi", recorder, progress=False)
    for got, data in zip(recorder.codings, files, strict=True):
        expected = read_jpeg_coding(data)
        assert (got.quality, got.size, got.subsampling) == (expected.quality, (38, 52), "4:2:0")
        np.testing.assert_array_equal(got.luma, expected.luma)


def test_other_networks_are_told_nothing(tmp_path):
    path = write_avi(tmp_path / "in.avi", [jpeg(0, 30), jpeg(1, 30)])
    recorder = Recorder(interval_head=False)
    restore_video(path, tmp_path / "out.avi", recorder, progress=False)
    assert recorder.codings == [None, None]


def test_what_ffmpeg_writes_has_tables_of_its_own(tmp_path):
    with av.open(str(tmp_path / "in.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, options={"qscale": "8"})
        stream.width, stream.height, stream.pix_fmt = 52, 38, "yuvj420p"
        for number in range(2):
            picture = av.VideoFrame.from_ndarray(frame(number).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    recorder = Recorder(interval_head=True)
    restore_video(tmp_path / "in.avi", tmp_path / "out.avi", recorder, progress=False)
    assert len(recorder.codings) == 2
    assert not recorder.codings[0].has_libjpeg_tables


def test_colours_that_are_not_those_of_jpeg_need_another_luma(tmp_path):
    path = write_avi(tmp_path / "in.avi", [jpeg(0, 30)])
    source = ContainerSource(path, VideoOptions(color_matrix="bt709"), codings=True)
    assert [picture.coding for picture in source.items()] == [None]
    source.close()
