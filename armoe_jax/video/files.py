"""Which inputs of a command are videos, where their results go, and restoring them one by one."""

import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from armoe_jax.runtime.errors import tell_of_item
from armoe_jax.video.options import BITSTREAM_FORMATS, VideoOptions, is_video
from armoe_jax.video.termination import exit_when_terminated

BITSTREAM_OUTPUT = ".mkv"
"""Bare bitstreams are written in a container, as most encoders' output should be."""


def split_inputs(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Returns the videos (files, and matches of patterns such as "clips/*.mp4"), and the rest.

    Raises:
        FileNotFoundError: If a video does not exist or a pattern of videos matches nothing.
    """
    videos: dict[Path, None] = {}
    others = []
    for entry in inputs:
        if not is_video(entry) or Path(entry).is_dir():
            others.append(entry)
            continue
        found = [Path(entry)] if Path(entry).exists() else sorted(map(Path, glob.glob(entry)))
        if not found:
            raise FileNotFoundError(f"there is no video {entry!r}")
        videos |= dict.fromkeys(found)
    return list(videos), others


def output_paths(
    videos: Sequence[Path], out: str | Path, *, name_suffix: str = "", alone: bool = True
) -> list[Path]:
    """Returns where each restored video goes.

    Args:
        videos: The inputs.
        out: With one video alone and the suffix of a video, the output file; else a folder.
        name_suffix: Put between stem and suffix of names in a folder.
        alone: Whether nothing but these videos is restored.

    Raises:
        ValueError: If two videos get the same name, or several are to become one file.
    """
    out = Path(out)
    if is_video(out) and not out.is_dir():
        if len(videos) != 1 or not alone:
            raise ValueError(f"{out} is one file, but there are several inputs; name a folder")
        return [out]
    targets: dict[Path, Path] = {}
    for video in videos:
        bare = video.suffix.lower() in BITSTREAM_FORMATS
        suffix = BITSTREAM_OUTPUT if bare else video.suffix
        target = out / f"{video.stem}{name_suffix}{suffix}"
        if target in targets:
            raise ValueError(f"{video} and {targets[target]} would both become {target}")
        targets[target] = video
    return list(targets)


def restore_files(
    videos: Sequence[Path],
    targets: Sequence[Path],
    load: Callable[[Path], Any],
    *,
    options: VideoOptions,
    overwrite: bool,
    report: Callable[[str], object],
) -> list[tuple[Path, str]]:
    """Restores videos one after the other; one that fails does not stop the rest.

    Args:
        videos: Inputs.
        targets: Outputs; missing folders are made.
        load: Returns the restorer for an input.
        options: How to read and write.
        overwrite: Whether outputs may be replaced.
        report: Called with a line about every finished video.

    Returns:
        (input, message) of each that failed.
    """
    from armoe_jax.video.restoration import restore_video

    failures = []
    with exit_when_terminated():
        for video, target in zip(videos, targets, strict=True):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                summary = restore_video(
                    video, target, load(video), options=options, overwrite=overwrite
                )
            except (ValueError, OSError, MemoryError, RuntimeError) as error:
                failures.append((video, tell_of_item(error)))
            else:
                report(f"{target}: {summary}\n")
    return failures
