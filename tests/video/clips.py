"""Tiny videos, made and read with PyAV, shared by the tests of this folder."""

import subprocess
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np

from armoe_jax.video import VideoOptions, yuv
from armoe_jax.video.color import ColorSpec, rgb_to_planes
from armoe_jax.video.info import Picture

FFV1 = VideoOptions(codec="ffv1")


def keep(image):
    return image


def pictures(count=6, height=48, width=64):
    """Smooth moving pictures: 16-bit RGB."""
    y, x = np.mgrid[:height, :width] / 64
    for t in range(count):
        planes = [0.5 + 0.3 * np.sin(3 * x + 2 * y + 0.5 * t + c) for c in range(3)]
        yield np.rint(np.stack(planes, -1) * 65535).astype(np.uint16)


def write_clip(path, *, codec="libx264", pixel_format="yuv420p", times=None, audio=True, **tags):
    """Encodes `pictures` with PyAV; times are in 1/30000 s."""
    times = times or [1001 * n for n in range(6)]
    rotation = tags.pop("rotation", 0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=Fraction(30000, 1001), options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        stream.codec_context.time_base = Fraction(1, 30000)
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = out.add_stream("aac", rate=48000, layout="mono") if audio else None
        fmt = yuv.parse_yuv_format(pixel_format, 64, 48)
        for picture, pts in zip(pictures(len(times)), times, strict=True):
            frame = frame_of(rgb_to_planes(picture, fmt, ColorSpec()), fmt)
            frame.pts, frame.time_base = pts, Fraction(1, 30000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            for n in range(10):
                tone = np.sin(np.arange(n * 1024, (n + 1) * 1024) * 0.05).astype(np.float32)
                samples = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 48000, n * 1024
                out.mux(sound.encode(samples))
            out.mux(sound.encode(None))
    return path


def frame_of(planes, fmt):
    frame = av.VideoFrame(fmt.width, fmt.height, fmt.pixel_format)
    for plane, samples in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // fmt.dtype.itemsize), fmt.dtype)
        padded[: samples.shape[0], : samples.shape[1]] = samples
        plane.update(padded.tobytes())
    return frame


def read_clip(path):
    """Returns frames as lists of planes, their times in seconds or None, and the last frame."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [None if f.pts is None else f.pts * f.time_base for f in frames]
    return [planes_of(f) for f in frames], times, frames[-1]


def planes_of(frame):
    dtype = np.dtype("u1" if frame.format.components[0].bits == 8 else "<u2")
    return [
        np.frombuffer(p, dtype).reshape(-1, p.line_size // dtype.itemsize)[: p.height, : p.width]
        for p in frame.planes
    ]


def sound_packets(path):
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(audio=0) if p.dts is not None]
        return [(bytes(p), float(p.pts * p.time_base)) for p in packets]


def frame_psnr(ours, theirs, peak):
    joined = (np.concatenate([plane.ravel() for plane in planes]) for planes in (ours, theirs))
    return psnr(*joined, peak)


def psnr(a, b, peak):
    return 10 * np.log10(peak**2 / np.mean((a.astype(float) - b) ** 2))


def random_planes(fmt, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 2**fmt.bits, s).astype(fmt.dtype) for s in fmt.plane_shapes)


def run_ffmpeg(*arguments):
    """Runs the ffmpeg program, which has encoders and options that PyAV has not."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y"]
    subprocess.run([*command, *map(str, arguments)], check=True)


TEST_PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=30:d=0.4")
TONE = ("-f", "lavfi", "-i", "sine=r=48000:d=0.4")


def streams_of(path):
    """Returns (kind, codec) of every stream."""
    with av.open(str(path)) as container:
        return [(s.type, s.codec_context.codec.canonical_name) for s in container.streams]


def packets_of(path, kind):
    """Returns (bytes, time in seconds) of the packets of the first stream of a kind."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(**{kind: 0}) if p.dts is not None]
        return [(bytes(p), float(p.pts * p.time_base)) for p in packets]


def times_of(source):
    """Returns the times of a source's pictures in seconds."""
    items = [item for item in source.items() if isinstance(item, Picture)]
    return [picture.pts * source.info.time_base for picture in items]
