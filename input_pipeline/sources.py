"""Where pairs come from: random access by index, one table of kinds.

Everything that can be checked without decoding (missing folders, unpaired stems, sizes) is checked
when a source is made; decoding errors name the file when it is read.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from armoe_jax.images.files import by_stem, images_in
from armoe_jax.images.io import image_size
from armoe_jax.images.jpeg_header import is_jpeg
from armoe_jax.runtime.locks import locked
from input_pipeline.build import build
from input_pipeline.codecs import CODEC_IDS, CODECS
from input_pipeline.embedded import embedded_images
from input_pipeline.example import Example
from input_pipeline.image_files import halve, list_images, read_image
from input_pipeline.manifest import MANIFEST, Tree, load_manifest, tree_name
from input_pipeline.settings import Component, DataConfig
from input_pipeline.transforms import reduce_bicubic, to_channels

BUILD_COMMAND = "armoe-jax build-dataset --source DIR --codec {codec} --{flag} {quality} --out DIR"


@dataclasses.dataclass(frozen=True)
class PairFiles:
    """The files of one pair; without `lq`, the input is made from the original."""

    name: str
    gt: Path
    lq: Path | None = None
    qp: int = -1
    codec: int = 0


@runtime_checkable
class PairSource(Protocol):
    """Random access to pairs."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def fingerprint(self) -> str:
        """Returns a text that changes when the pairs change."""
        ...


@dataclasses.dataclass(frozen=True)
class FilePairs:
    """Pairs of image files.

    Attributes:
        files: The pairs.
        scale: Side of gt over side of lq.
        in_chans: 3 for RGB, 1 for gray (luma of colour images).
        halve_jpeg: Reduce originals that are JPEG files by two first.
    """

    files: tuple[PairFiles, ...]
    scale: int = 1
    in_chans: int = 3
    halve_jpeg: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        pair = self.files[index]
        gt = to_channels(read_image(pair.gt), self.in_chans)
        if self.halve_jpeg and is_jpeg(pair.gt):
            gt = halve(gt)
        if pair.lq is not None:
            lq = to_channels(read_image(pair.lq), self.in_chans)
            gt = gt[: lq.shape[0] * self.scale, : lq.shape[1] * self.scale]
        elif self.scale > 1:
            gt, lq = reduce_bicubic(gt, self.scale)
        else:
            lq = gt
        return Example(lq, gt, pair.qp, pair.codec)

    def fingerprint(self) -> str:
        """See `PairSource.fingerprint`: names, sizes and times of the files, and all settings."""
        digest = hashlib.sha256(f"{self.scale} {self.in_chans} {self.halve_jpeg}".encode())
        for pair in self.files:
            digest.update(f"{pair.name} {pair.qp} {pair.codec}".encode())
            for path in (pair.gt, pair.lq):
                if path is not None:
                    status = path.stat()
                    text = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
                    digest.update(text.encode())
        return digest.hexdigest()

    def check_sizes(self, smallest: int) -> None:
        """Checks all pairs by their headers.

        Args:
            smallest: Least side of lq in pixels.

        Raises:
            ValueError: If sizes do not match or an image is too small; the message names it.
        """
        for pair in self.files:
            height, width = image_size(pair.gt)
            if self.halve_jpeg and is_jpeg(pair.gt):
                height, width = height // 2, width // 2
            lq_height, lq_width = height // self.scale, width // self.scale
            if pair.lq is not None:
                seen = image_size(pair.lq)
                if seen != (lq_height, lq_width) or (self.scale == 1 and seen != (height, width)):
                    raise ValueError(
                        f"{pair.lq} has {seen[1]}x{seen[0]} pixels, but {pair.gt} has "
                        f"{width}x{height}; at scale {self.scale} they do not belong together"
                    )
            if min(lq_height, lq_width) < smallest:
                raise ValueError(
                    f"{pair.lq or pair.gt} gives an input of {lq_width}x{lq_height}, smaller than "
                    f"the patch of {smallest}x{smallest}; remove it or reduce data.patch_size"
                )


def pair_folders(gt: str | Path, lq: str | Path, *, qp: int = -1, codec: int = 0):
    """Pairs the images of two folders by stem.

    Returns:
        A list of `PairFiles`, sorted by name.

    Raises:
        FileNotFoundError: If a folder is absent or empty.
        ValueError: If stems are not unique, or some have no partner; the message names them.
    """
    originals, inputs = by_stem(images_in(gt)), by_stem(images_in(lq))
    for folder, other, extra in (
        (gt, lq, sorted(set(originals) - set(inputs))),
        (lq, gt, sorted(set(inputs) - set(originals))),
    ):
        if extra:
            names = ", ".join(extra[:5]) + (f" and {len(extra) - 5} more" if extra[5:] else "")
            raise ValueError(f"{folder} has images without a partner in {other}: {names}")
    return [PairFiles(stem, path, inputs[stem], qp, codec) for stem, path in originals.items()]


def tree_files(folder: Path) -> list[PairFiles]:
    """Returns the pairs of a built tree, with their labels."""
    manifest = load_manifest(folder)
    codec = CODEC_IDS[manifest["codec"]]
    names = [record["name"] for record in manifest["images"]]
    if not names:
        raise ValueError(f"{folder / MANIFEST} lists no image; build it again")
    return [
        PairFiles(
            name,
            folder / "gt" / f"{name}.png",
            folder / "lq" / f"{name}.png",
            manifest["qp"],
            codec,
        )
        for name in names
    ]


def _embedded(component: Component, cache: Path, scale: int, split: str) -> list[PairFiles]:
    images = embedded_images(split)
    if scale > 1:
        return [PairFiles(path.stem, path) for path in images]
    pairs: list[PairFiles] = []
    for quality in component.qualities:
        pairs += tree_files(embedded_tree(component, cache, quality, split))
    return pairs


def embedded_tree(component: Component, cache: Path, quality: int, split: str) -> Path:
    """Returns the tree of embedded pairs, building what is missing; each setting has its own."""
    name = tree_name(component.codec, quality).replace("/", "-")
    tree = Tree(Path(), component.codec, quality, component.codec_options)
    key = hashlib.sha256(json.dumps(tree.header(), sort_keys=True).encode()).hexdigest()[:12]
    folder = cache / "embedded" / f"{name}-{component.colors}-{key}" / split
    if not (folder / MANIFEST).is_file():
        with locked(folder.with_name(f"{split}.lock"), wait=True):
            summary = build(embedded_images(split), [dataclasses.replace(tree, folder=folder)])
        if summary.failures:
            raise ValueError(f"embedded images could not be coded: {summary.failures[0]}")
    return folder


def _folder(component: Component, cache: Path, scale: int, split: str) -> list[PairFiles]:
    gt = _required(component.gt, "gt", "the folder of originals", component)
    if not component.lq:
        if scale > 1:
            return [PairFiles(path.stem, path) for path in list_images(gt)]
        _required("", "lq", "the folder of compressed images", component)
    manifest = gt.parent / MANIFEST
    if manifest.is_file() and Path(component.lq).expanduser() == gt.parent / "lq":
        return tree_files(gt.parent)
    return pair_folders(gt, Path(component.lq).expanduser())


def _built(component: Component, cache: Path, scale: int, split: str) -> list[PairFiles]:
    root = _required(component.root, "root", "a folder written by build-dataset", component)
    if (root / MANIFEST).is_file():
        return tree_files(root)
    pairs: list[PairFiles] = []
    for quality in component.qualities:
        folder = root / tree_name(component.codec, quality)
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(
                f"{folder} is not a built data set; build it: {_command(component, quality)}"
            )
        pairs += tree_files(folder)
    return pairs


def _clean(component: Component, cache: Path, scale: int, split: str) -> list[PairFiles]:
    gt = _required(component.gt, "gt", "a folder of clean images", component)
    if scale > 1:
        raise ValueError(f"data.source 'jpeg' has no scale {scale}; it codes at the same size")
    return [PairFiles(path.stem, path) for path in list_images(gt)]


def _required(value: str, field: str, what: str, component: Component) -> Path:
    if not value:
        raise ValueError(
            f"config.data.{field} is empty: give {what} (data.source is {component.source!r}); "
            f"compressed pairs are built by: {_command(component, component.qualities[0])}"
        )
    return Path(value).expanduser()


def _command(component: Component, quality: int) -> str:
    flag = CODECS[component.codec].quality_name
    return BUILD_COMMAND.format(codec=component.codec, flag=flag, quality=quality)


FileLister = Callable[[Component, Path, int, str], list[PairFiles]]

SOURCES: dict[str, FileLister] = {
    "embedded": _embedded,
    "folder": _folder,
    "built": _built,
    "jpeg": _clean,
}
"""Kind -> function of component, cache folder, scale and split that lists pairs of files."""


def list_files(component: Component, config: DataConfig, *, scale: int) -> list[PairFiles]:
    """Returns the files of a component's training pairs; not for "tfds".

    Raises:
        FileNotFoundError: If data are missing; the message names the command that builds them.
        ValueError: If pairs do not fit together.
    """
    return SOURCES[component.source](component, config.cache_folder(), scale, "train")


def open_source(
    component: Component, config: DataConfig, *, scale: int, in_chans: int
) -> PairSource:
    """Returns the training pairs of a component, checked.

    Raises:
        FileNotFoundError: If data are missing; the message names the command that builds them.
        ValueError: If pairs do not fit together or are smaller than a patch.
    """
    if component.source == "tfds":
        from input_pipeline.tfds_source import TfdsPairs

        root = _required(component.root, "root", "the folder of a TFDS builder", component)
        return TfdsPairs(str(root), component.split, scale=scale, in_chans=in_chans)
    files = list_files(component, config, scale=scale)
    halve_jpeg = component.halve_jpeg and component.source == "jpeg"
    source = FilePairs(tuple(files), scale, in_chans, halve_jpeg)
    source.check_sizes(config.patch_size)
    return source


def open_eval_files(config: DataConfig, *, scale: int) -> Sequence[PairFiles]:
    """Returns the files of the evaluation pairs; see `pipeline.eval_pairs`."""
    if not config.eval_gt:
        if config.source == "embedded":
            return _embedded(config, config.cache_folder(), scale, "eval")
        raise ValueError(
            "config.data.eval_gt is empty: give the folders eval_gt and eval_lq; compressed pairs "
            f"are built by: {_command(config, config.qualities[0])}"
        )
    gt = Path(config.eval_gt).expanduser()
    if config.eval_lq:
        return pair_folders(gt, Path(config.eval_lq).expanduser())
    if scale > 1 or config.source == "jpeg":
        return [PairFiles(path.stem, path) for path in list_images(gt)]
    raise ValueError(
        "config.data.eval_lq is empty: give the folder of compressed images; they are built by: "
        f"{_command(config, config.qualities[0])}"
    )
