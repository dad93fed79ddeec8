"""PyAV frames to arrays and back, in every layout that maps onto planar YUV or RGB."""

from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt16

from armoe_jax.video import yuv


def frame_format(frame: Any, path: Path) -> tuple[yuv.YuvFormat, bool]:
    """Returns the format in which a frame is handled, and whether it is RGB."""
    native = frame.format
    bits = native.components[0].bits
    if any(component.is_alpha for component in native.components):
        raise ValueError(f"{path}: transparent video ({native.name}); flatten it first")
    if native.is_rgb or native.name.startswith("gbr") or native.name.startswith("pal"):
        return yuv.YuvFormat(frame.width, frame.height, "444", max(8, bits)), True
    if len(native.components) == 1:
        chroma = "400"
    else:
        sampling = (native.chroma_width(256), native.chroma_height(256))
        names = {(128, 128): "420", (128, 256): "422", (256, 256): "444"}
        if sampling not in names:
            raise ValueError(
                f"{path}: chroma sampling of {native.name} is not supported; convert it to "
                "yuv420p, yuv422p or yuv444p first"
            )
        chroma = names[sampling]
    if bits not in yuv.BIT_DEPTHS:
        raise ValueError(f"{path}: {bits} bits a sample ({native.name}) are not supported")
    return yuv.YuvFormat(frame.width, frame.height, chroma, bits), False


def planes_of(frame: Any, fmt: yuv.YuvFormat) -> yuv.Planes:
    """Copies a frame's samples out; semi-planar and big-endian layouts are rearranged first."""
    name = frame.format.name
    if name.replace("yuvj", "yuv") != fmt.pixel_format:
        frame = frame.reformat(format=fmt.pixel_format)
    return tuple(
        plane_view(plane, fmt)[: shape[0], : shape[1]]
        for plane, shape in zip(frame.planes, fmt.plane_shapes, strict=True)
    )


def plane_view(plane: Any, fmt: yuv.YuvFormat) -> Any:
    """Returns the samples of a PyAV plane, padding columns included, without copying."""
    samples = np.frombuffer(plane, dtype=fmt.dtype)
    return samples.reshape(-1, plane.line_size // fmt.dtype.itemsize)


def rgb_of(frame: Any, fmt: yuv.YuvFormat) -> UInt16[np.ndarray, "h w 3"]:
    """Reads any RGB layout, scaled to 16 bits."""
    planar = "gbrp" if fmt.bits == 8 else f"gbrp{fmt.bits}le"
    green, blue, red = (
        plane_view(plane, fmt)[: fmt.height, : fmt.width]
        for plane in frame.reformat(format=planar).planes
    )
    peak = 2**fmt.bits - 1
    samples = np.stack([red, green, blue], axis=-1).astype(np.uint32)
    return ((samples * 65535 + peak // 2) // peak).astype(np.uint16)


def frame_from_planes(planes: yuv.Planes, fmt: yuv.YuvFormat) -> Any:
    """Returns a new PyAV frame with these samples."""
    frame = av.VideoFrame(fmt.width, fmt.height, fmt.pixel_format)
    for plane, samples in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // fmt.dtype.itemsize), fmt.dtype)
        padded[: samples.shape[0], : samples.shape[1]] = samples
        plane.update(padded.tobytes())
    return frame
