"""Writing videos: what every output has in common.

A sink writes under a name that no player and none of our commands takes for a video, and renames
the file when it is complete.
"""

import abc
import os
from pathlib import Path
from typing import Any

from armoe_jax.runtime import files
from armoe_jax.video import yuv
from armoe_jax.video.color import ColorSpec, rgb_to_planes
from armoe_jax.video.info import Picture, SourceInfo
from armoe_jax.video.options import VideoOptions


class Sink(abc.ABC):
    """Common part: the temporary name, and pictures to planes."""

    def __init__(self, path: Path, info: SourceInfo, options: VideoOptions):
        self.path, self.info, self.options = path, info, options
        files.remove_leftovers(path.parent)
        self.partial = files.temporary_name(path)
        self.notes: list[str] = []
        self.num_frames = 0
        self.num_copied_streams = 0
        self.format: yuv.YuvFormat | None = None
        self.color: ColorSpec = info.color

    def write(self, picture: Picture) -> None:
        """Appends a picture; the first one sets the size.

        Raises:
            ValueError: If the encoder refuses the size or its settings.
        """
        if self.format is None:
            height, width = picture.rgb.shape[:2]
            self.format = self._configure(width, height)
        self._write(rgb_to_planes(picture.rgb, self.format, self.color), picture)
        self.num_frames += 1

    def finish(self) -> None:
        """Completes the file and gives it its name."""
        self._finish()
        os.replace(self.partial, self.path)

    def abandon(self) -> None:
        """Removes what was written."""
        self._abandon()
        self.partial.unlink(missing_ok=True)

    def _wanted_format(self, width: int, height: int, name: str | None) -> yuv.YuvFormat:
        source = self.info.format
        if name is None:
            return yuv.YuvFormat(width, height, source.chroma, source.bits)
        return yuv.parse_yuv_format(name, width, height)

    @abc.abstractmethod
    def mux(self, packet: Any) -> None:
        """Takes a packet of another stream."""

    @abc.abstractmethod
    def _configure(self, width: int, height: int) -> yuv.YuvFormat:
        """Starts the file for pictures of this size."""

    @abc.abstractmethod
    def _write(self, planes: yuv.Planes, picture: Picture) -> None:
        """Appends samples."""

    @abc.abstractmethod
    def _finish(self) -> None:
        """Writes what is outstanding and closes the file."""

    @abc.abstractmethod
    def _abandon(self) -> None:
        """Closes the file without a care for its contents."""
