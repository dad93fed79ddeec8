"""Restoration of videos: `restore_video` reads, restores and encodes at the same time.

Light to import: PyAV is loaded when a video is opened, so that a command's help is instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

from armoe_jax.video.options import (
    VIDEO_SUFFIXES,
    VideoOptions,
    add_arguments,
    is_video,
    options_from_args,
)

if TYPE_CHECKING:
    from armoe_jax.video.restoration import VideoSummary, restore_video

__all__ = [
    "VIDEO_SUFFIXES",
    "VideoOptions",
    "VideoSummary",
    "add_arguments",
    "is_video",
    "options_from_args",
    "restore_video",
]


def __getattr__(name: str) -> Any:
    if name not in {"VideoSummary", "restore_video"}:
        raise AttributeError(f"module 'armoe_jax.video' has no {name!r}; it has {__all__}")
    return getattr(importlib.import_module("armoe_jax.video.restoration"), name)
