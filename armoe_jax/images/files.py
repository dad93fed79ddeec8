"""Which image files a command line means, and where the results go."""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import logging

from armoe_jax.images.io import FORMATS


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """Expands files, folders and glob patterns; logs what is left out of a folder.

    Args:
        inputs: Files (of any suffix), folders (their images, not those of sub-folders), and
            patterns such as "photos/*.png" ("**" descends).

    Returns:
        Files in the order of the inputs, those of a folder or pattern sorted; none twice.

    Raises:
        FileNotFoundError: If an input does not exist or a pattern matches nothing.
        ValueError: If a folder holds no images.
    """
    found: dict[Path, None] = {}
    for entry in inputs:
        path = Path(entry)
        if path.is_dir():
            images = images_in(path)
            found |= dict.fromkeys(images)
            _log_left_out(path, images)
        elif path.exists():
            found[path] = None
        elif glob.has_magic(str(entry)):
            matches = sorted(Path(match) for match in glob.glob(str(entry), recursive=True))
            files = [match for match in matches if match.is_file()]
            if not files:
                raise FileNotFoundError(f"no file matches {str(entry)!r}")
            found |= dict.fromkeys(files)
        else:
            raise FileNotFoundError(f"there is no file or folder {str(entry)!r}")
    return list(found)


def images_in(folder: str | Path) -> list[Path]:
    """Returns the images of a folder, by suffix, sorted by name.

    Hidden files (such as the "._a.png" of macOS) and folders are left out. A link to a file that is
    gone is not: whoever reads it will name it.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}")
    images = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in FORMATS and not path.name.startswith(".") and not path.is_dir()
    )
    if not images:
        raise ValueError(f"the folder {str(folder)!r} holds no images ({', '.join(FORMATS)})")
    return images


def output_paths(
    sources: Sequence[Path], out: str | Path, *, name_suffix: str = "", image_format: str = ""
) -> list[Path]:
    """Returns where each restored image goes.

    Args:
        sources: The input files.
        out: With one source and a suffix, the output file; else, or with "/" at its end, a folder.
        name_suffix: Put between the stem and the suffix of names in a folder.
        image_format: Suffix without dot that replaces those of the sources, such as "png".

    Raises:
        ValueError: If a format is unknown or contradicts `out`, two sources get the same name, or
            several are to become one file.
    """
    is_folder = str(out).endswith(("/", os.sep)) or Path(out).is_dir()
    out = Path(out)
    suffix = f".{image_format.lower().removeprefix('.')}" if image_format else ""
    if suffix and suffix not in FORMATS:
        raise ValueError(f"format {image_format!r} is unknown; known are {_known_formats()}")
    if len(sources) == 1 and out.suffix and not is_folder:
        if out.suffix.lower() not in FORMATS:
            raise ValueError(
                f"{out}: the suffix {out.suffix!r} is not that of an image ({_known_formats()}); "
                f"for a folder of this name write {out}{os.sep}"
            )
        if suffix and FORMATS[suffix] != FORMATS[out.suffix.lower()]:
            raise ValueError(f"--format {image_format} contradicts the name {out.name}")
        return [out]
    if not is_folder and (out.suffix.lower() in FORMATS or out.exists()):
        raise ValueError(f"{out} is the name of a file; {len(sources)} results need a folder")
    paths = [out / f"{path.stem}{name_suffix}{suffix or path.suffix}" for path in sources]
    owners: dict[Path, Path] = {}
    for source, path in zip(sources, paths, strict=True):
        if path in owners:
            raise ValueError(
                f"{owners[path]} and {source} would both become {path}; restore them into "
                "different folders"
            )
        owners[path] = source
    return paths


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Returns files by the stems of their names, in the given order.

    Raises:
        ValueError: If two have the same stem; both are named.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise ValueError(
                f"{found[path.stem]} and {path} have the same stem {path.stem!r}; rename one of "
                "them"
            )
        found[path.stem] = path
    return found


def match_stems(gt: Sequence[Path], lq: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pairs originals and inputs by the stems of their names.

    Raises:
        ValueError: If a stem occurs twice on one side, or on one side only; files are named.
    """
    sides = by_stem(gt), by_stem(lq)
    for own, other, missing in ((*sides, "input"), (*sides[::-1], "original")):
        alone = [path for stem, path in own.items() if stem not in other]
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise ValueError(
                f"{alone[0]}{more} has no {missing} of the stem {alone[0].stem!r}; pairs are "
                "matched by stem"
            )
    return [(path, sides[1][stem]) for stem, path in sides[0].items()]


def _log_left_out(folder: Path, images: Sequence[Path]) -> None:
    files = {path for path in folder.iterdir() if path.is_file() and path.name[0] != "."}
    others = sorted(files.difference(images))
    if others:
        logging.info(
            "%s: %d files without the suffix of an image are left out, such as %s",
            folder,
            len(others),
            others[0].name,
        )


def _known_formats() -> str:
    return ", ".join(suffix.removeprefix(".") for suffix in FORMATS)
