"""What an evaluation found: figures of every image, their means, and what they belong to."""

import dataclasses
import functools
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

Figures = Mapping[str, float | None]
"""Name -> value; None where it is infinite or the image too small for the figure."""

CODING_FIELDS = ("codec", "qp", "colors", "version", "settings")
"""Of `Evaluation.coding`; a built tree's manifest has all of them."""


@dataclasses.dataclass(frozen=True)
class ImageRecord:
    """One image.

    Attributes:
        name: The stem of its files.
        figures: Such as `psnr_y` of the restored image, `lq_psnr_y` of the input, and
            `gain_psnr_y`, the difference.
        expert: Index of the expert that each layer chose; empty where that was not recorded.
        seconds: What restoring took; None in a record that was read from a file.
    """

    name: str
    figures: Figures
    expert: tuple[int, ...] = ()
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns one flat, JSON-able row."""
        expert = {"expert": list(self.expert)} if self.expert else {}
        return {"name": self.name, **self.figures, **expert}


@dataclasses.dataclass(frozen=True)
class Failure:
    """An image that could not be measured, and why, in one line."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Images that were restored and compared with their originals.

    Attributes:
        images: The images.
        failed: Those that could not be measured.
        expert_names: Names of the network's experts, where choices were recorded.
        coding: What the inputs were coded with, where that is known: `codec`, `qp` (of JPEG:
            quality), `colors`, `version`, `settings`.
        published: The paper's row and what it belongs to, or None.
        brightness_correction: Gray levels that were added to each channel for the figure
            `brightness_psnr_y`; empty without it.
        seconds_per_image: Median over the images (the first of a size includes compilation).
    """

    images: tuple[ImageRecord, ...]
    failed: tuple[Failure, ...] = ()
    expert_names: tuple[str, ...] = ()
    coding: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    published: Mapping[str, Any] | None = None
    brightness_correction: tuple[float, ...] = ()
    seconds_per_image: float | None = None

    def __post_init__(self):
        if not self.images:
            reason = f"; {self.failed[0].name}: {self.failed[0].reason}" if self.failed else ""
            raise ValueError(f"there are no pairs of images to evaluate{reason}")

    @functools.cached_property
    def means(self) -> Figures:
        """Mean of each figure over the images; None over any None."""
        return {name: mean(image.figures[name] for image in self.images) for name in self.names}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the figures."""
        return tuple(self.images[0].figures)

    @property
    def condition(self) -> str:
        """What the inputs were coded with, such as "VVC QP 27"."""
        return condition(self.coding)

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON-able form: `num_images`, the means, `images`, and what else is known."""
        record = {"num_images": len(self.images), **self.means}
        record["images"] = [image.to_dict() for image in self.images]
        record |= self.coding
        for name in ("seconds_per_image", "expert_names", "published", "brightness_correction"):
            if value := getattr(self, name):
                record[name] = list(value) if isinstance(value, tuple) else value
        if self.failed:
            record["failed"] = [dataclasses.asdict(failure) for failure in self.failed]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Evaluation":
        """Reads what `to_dict` returned."""
        return cls(
            images=tuple(_image(row) for row in record["images"]),
            failed=tuple(Failure(**row) for row in record.get("failed", ())),
            expert_names=tuple(record.get("expert_names", ())),
            coding={name: record[name] for name in CODING_FIELDS if name in record},
            published=record.get("published"),
            brightness_correction=tuple(record.get("brightness_correction", ())),
            seconds_per_image=record.get("seconds_per_image"),
        )


def condition(coding: Mapping[str, Any]) -> str:
    """Returns codec and quality as people write them; "given images" where they are unknown."""
    codec = coding.get("codec", "")
    return f"{codec.upper()} {quality_name(codec)} {coding['qp']}" if codec else "given images"


def quality_name(codec: str) -> str:
    """Returns how people call a codec's quality, which records name `qp` whatever the codec."""
    return {"jpeg": "quality", "av1": "CRF"}.get(codec, "QP")


def mean(values: Iterable[float | None]) -> float | None:
    """Returns the mean of a figure, at least one value; None over any None."""
    values = list(values)
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def median_seconds(images: Iterable[ImageRecord]) -> float | None:
    """Returns the median of what restoring an image took; None where nothing was timed."""
    seconds = [image.seconds for image in images if image.seconds is not None]
    return statistics.median(seconds) if seconds else None


def _image(row: Mapping[str, Any]) -> ImageRecord:
    figures = {name: value for name, value in row.items() if name not in ("name", "expert")}
    return ImageRecord(row.get("name", ""), figures, tuple(row.get("expert", ())))
