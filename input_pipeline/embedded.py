"""Photographs inside scikit-image's wheel: a small data set that needs no download."""

import importlib.util
from pathlib import Path

SPLITS: dict[str, tuple[str, ...]] = {
    "train": (
        "astronaut.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "eval": ("chelsea.png", "coffee.png"),
}
"""File names by split; the splits share no scene."""


def embedded_images(split: str) -> list[Path]:
    """Returns the image files of a split.

    Raises:
        KeyError: If the split is unknown.
        FileNotFoundError: If the installed scikit-image lacks one of them.
    """
    if split not in SPLITS:
        raise KeyError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("scikit-image is not installed; run: pip install scikit-image")
    folder = Path(spec.origin).parent / "data"
    files = [folder / name for name in SPLITS[split]]
    absent = [path.name for path in files if not path.is_file()]
    if absent:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(absent)}; reinstall scikit-image from its wheel"
        )
    return files
