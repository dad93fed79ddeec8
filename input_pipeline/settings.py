"""The fields of `config.data`: their defaults and their checks."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from armoe_jax.runtime.files import user_cache_folder
from input_pipeline.codecs import CODECS, CodecOptions
from input_pipeline.codecs.base import COLORS

SOURCE_NAMES = ("embedded", "folder", "built", "jpeg", "tfds")
CACHES = ("none", "memory", "array_record")


@runtime_checkable
class Fields(Protocol):
    """A dictionary of settings: a mapping, or a ConfigDict, which is none but has items."""

    def items(self) -> Iterable[tuple[str, Any]]:
        """Returns names and values."""
        ...


@dataclasses.dataclass(frozen=True)
class Component:
    """Where training pairs come from; a mixture has several of these.

    Attributes:
        source: "embedded": photographs inside scikit-image, coded on first use.
            "folder": the folders `gt` and `lq`, paired by stem; with a scale above 1 and no `lq`,
            inputs are made by bicubic reduction.
            "built": `root`, a tree (or several) written by `armoe-jax build-dataset`.
            "jpeg": clean images of `gt`, coded as JPEG at a random quality on the fly.
            "tfds": `root`, the version folder of a prepared TFDS builder.
        gt: Folder of originals (PNG, JPEG, WebP, ...).
        lq: Folder of compressed (or reduced) images with the same stems.
        root: See `source`.
        split: Of the TFDS builder.
        codec: What `embedded` codes with, and which trees of `built` are read.
        qp: Its quality.
        qps: Several qualities, equally frequent; empty for `qp` alone.
        preset: Speed preset for `embedded`.
        colors: Colour conversion for `embedded`.
        jpeg_quality: Smallest and largest random quality of `jpeg`.
        jpeg_subsampling: Chroma subsamplings of `jpeg`, equally frequent.
        jpeg_on_grid: Whether patches of `jpeg` start on the coding grid; batches then carry the
            quantiser steps, which networks with an interval head use.
        jpeg_twice: Share of images that `jpeg` codes twice, half of them on another grid first.
        patch_grid: Patches of coded pairs start at multiples of this many input pixels, such as 8:
            codecs work in blocks, and users' images start with a whole one. 1: anywhere.
        halve_jpeg: Whether `jpeg` reduces sources that are JPEG files themselves by two.
        weight: How often this component is drawn, relative to the others.
    """

    source: str = "embedded"
    gt: str = ""
    lq: str = ""
    root: str = ""
    split: str = "train"
    codec: str = "vvc"
    qp: int = 27
    qps: tuple[int, ...] = ()
    preset: str = "faster"
    colors: str = "clean"
    jpeg_quality: tuple[int, int] = (10, 90)
    jpeg_subsampling: tuple[str, ...] = ("4:2:0", "4:4:4")
    jpeg_on_grid: bool = False
    jpeg_twice: float = 0.0
    patch_grid: int = 1
    halve_jpeg: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        _choice("source", self.source, SOURCE_NAMES)
        _choice("codec", self.codec, tuple(CODECS))
        _choice("colors", self.colors, COLORS)
        for name in self.jpeg_subsampling:
            _choice("jpeg_subsampling", name, CODECS["jpeg"].subsamplings)
        low, high = self.jpeg_quality
        if not 1 <= low <= high <= 100:
            raise ValueError(
                f"data.jpeg_quality is {self.jpeg_quality}, expected (low, high) in 1..100"
            )
        if not self.jpeg_subsampling:
            raise ValueError("data.jpeg_subsampling is empty; name at least one, such as '4:2:0'")
        if not 0 <= self.jpeg_twice <= 1:
            raise ValueError(f"data.jpeg_twice is {self.jpeg_twice}, expected a share in [0, 1]")
        if self.patch_grid < 1:
            raise ValueError(f"data.patch_grid is {self.patch_grid}, expected at least 1")
        if self.patch_grid > 1 and self.source == "jpeg":
            raise ValueError("data.patch_grid is of coded pairs; set data.jpeg_on_grid instead")
        if self.weight <= 0:
            raise ValueError(f"data weight is {self.weight}, expected a positive number")

    @property
    def qualities(self) -> tuple[int, ...]:
        """The qualities asked for."""
        return self.qps or (self.qp,)

    @property
    def codec_options(self) -> CodecOptions:
        """Options of the codec that `embedded` uses."""
        jpeg = self.codec == "jpeg"
        return CodecOptions(
            colors=self.colors,
            preset=self.preset if self.preset in CODECS[self.codec].presets else "",
            subsampling=self.jpeg_subsampling[0] if jpeg else "",
        )


@dataclasses.dataclass(frozen=True)
class DataConfig(Component):
    """All fields of `config.data`.

    Attributes:
        mixture: Components as mappings of the fields of `Component` that differ from those above;
            empty for one component.
        eval_gt: Folder of originals to evaluate on; empty for the source's own evaluation images.
        eval_lq: Folder of their compressed versions, paired by stem.
        eval_split: Of the TFDS builder.
        eval_jpeg_quality: Quality at which `jpeg` codes the images of `eval_gt`.
        patch_size: Side of a training patch in input pixels.
        patches_per_image: Patches cut from an image that has been read, one after the other in a
            batch; above 1 it saves reading at the cost of variety within a batch. Those of `jpeg`
            lie side by side and are coded at once, with one quality.
        augment: Whether to flip and transpose at random.
        max_damaged: Most training images, of each component and in each process, that are skipped
            because they cannot be read; one more ends the run.
        num_workers: Processes that read; 0 for threads of this one.
        num_threads: Threads that read, in each process.
        prefetch: Batches kept ready, in each process.
        cache: "none"; "memory": decoded images in one memory-mapped file, shared by all workers;
            "array_record": pre-cut sub-images as ArrayRecord.
        cache_dir: Where caches and embedded pairs are built; empty for the user's cache folder.
        subimage_size: Side of cut sub-images in input pixels. Small ones are read faster.
        subimage_step: Distance between them; with size - patch_size, every patch is in one.
    """

    mixture: tuple[Fields, ...] = ()
    eval_gt: str = ""
    eval_lq: str = ""
    eval_split: str = "test"
    eval_jpeg_quality: int = 40
    patch_size: int = 64
    patches_per_image: int = 1
    augment: bool = True
    max_damaged: int = 10
    num_workers: int = 0
    num_threads: int = 2
    prefetch: int = 4
    cache: str = "none"
    cache_dir: str = ""
    subimage_size: int = 240
    subimage_step: int = 176

    def __post_init__(self) -> None:
        super().__post_init__()
        _choice("cache", self.cache, CACHES)
        positive = ("patch_size", "patches_per_image", "num_threads", "prefetch", "subimage_step")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}, expected at least 1")
        for name in ("num_workers", "max_damaged"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.{name} is {getattr(self, name)}, expected at least 0")
        if self.cache == "array_record" and self.subimage_size < self.patch_size:
            raise ValueError(
                f"data.subimage_size is {self.subimage_size}, smaller than patch_size "
                f"{self.patch_size}"
            )

    @classmethod
    def from_mapping(cls, mapping: Fields) -> "DataConfig":
        """Returns the settings in a (config) dictionary.

        Raises:
            KeyError: If it has a field that does not exist.
            TypeError: If a field has another type than its default.
            ValueError: If a value is not allowed.
        """
        return cls(**_checked(cls, mapping))

    def components(self) -> list[Component]:
        """Returns the components of the mixture, or the single one."""
        names = [field.name for field in dataclasses.fields(Component)]
        base = {name: getattr(self, name) for name in names}
        changes = self.mixture or ({},)
        components = [Component(**{**base, **_checked(Component, change)}) for change in changes]
        for component in components:
            self._check_grid(component.patch_grid)
        return components

    def _check_grid(self, grid: int) -> None:
        if self.patch_size % grid:
            raise ValueError(
                f"data.patch_grid is {grid}, which does not divide patch_size {self.patch_size}: "
                "flipped patches would leave the grid"
            )
        if grid > 1 and self.cache == "array_record":
            raise ValueError(
                f"data.patch_grid is {grid}, but the sub-images of cache 'array_record' start "
                "anywhere; choose cache 'memory' or 'none'"
            )

    def cache_folder(self) -> Path:
        """Returns the folder of caches."""
        if self.cache_dir:
            return Path(self.cache_dir).expanduser()
        return user_cache_folder()


def default_config() -> dict[str, Any]:
    """Returns every field of `config.data` with its default."""
    return {field.name: field.default for field in dataclasses.fields(DataConfig)}


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"data.{name} is {value!r}; choose one of {', '.join(map(repr, allowed))}")


def _checked(cls: type[Component], mapping: Fields) -> dict[str, Any]:
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(cls)}
    checked: dict[str, Any] = {}
    for name, value in mapping.items():
        if name not in defaults:
            raise KeyError(f"data has no field {name!r}; it has {', '.join(defaults)}")
        checked[name] = _converted(name, value, defaults[name])
    return checked


def _converted(name: str, value: object, default: object) -> object:
    """Returns a value of the default's type; lists become tuples, integers floats."""
    kind = type(default)
    if kind is tuple and type(value) is list:
        return tuple(cast(list[object], value))
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"data.{name} is {value!r}, expected a value of {kind.__name__}")
    return cast(object, value)
