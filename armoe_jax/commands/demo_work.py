"""The demonstration: shipped weights on photographs inside an installed package, with pictures."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from armoe_jax.checkpoints.shipped import CODEC_MODEL, JPEG_MODEL
from armoe_jax.checkpoints.weights import load_weights
from armoe_jax.evaluation.pairs import evaluate_pairs
from armoe_jax.evaluation.record import Evaluation
from armoe_jax.evaluation.report.runs import RECORD_NAME
from armoe_jax.images.comparison import compare
from armoe_jax.images.io import read_image, write_image
from armoe_jax.images.jpeg import JpegCoding, read_jpeg_coding
from armoe_jax.restore.restorer import Restorer
from armoe_jax.runtime.files import write_atomically
from armoe_jax.runtime.json_files import write_json
from input_pipeline import pipeline
from input_pipeline.codecs.jpeg import encode_jpeg
from input_pipeline.embedded import embedded_images
from input_pipeline.example import Pair

VVC_QP = 37
JPEG_QUALITY = 10

CODINGS = {
    JPEG_MODEL: {"codec": "jpeg", "qp": JPEG_QUALITY},
    CODEC_MODEL: {"codec": "vvc", "qp": VVC_QP},
}
"""Name of weights -> what their photographs are coded with; the strongest picture comes first."""


def coded_photographs(model: str, folder: Path, cache_dir: str = "") -> list[Pair]:
    """Codes the photographs as the weights of that name expect it.

    Args:
        model: Name of shipped weights, a key of CODINGS.
        folder: Gets the coded photographs in lq/ and the originals in gt/.
        cache_dir: Where VVC's are kept from one call to the next; by default the user's cache.
    """
    pairs = list(_jpegs(folder) if model == JPEG_MODEL else _decoded_vvc(folder, cache_dir))
    for pair in pairs:
        write_image(folder / "gt" / f"{pair.name}.png", pair.gt)
    return pairs


def _jpegs(folder: Path) -> Iterator[Pair]:
    """Writes JPEG files and reads them again, with all that a file tells."""
    for source in embedded_images("eval"):
        original = read_image(source).pixels
        path = folder / "lq" / f"{source.stem}.jpg"
        write_atomically(path, encode_jpeg(original, JPEG_QUALITY, "4:2:0"))
        coding = read_jpeg_coding(path)
        known = coding if isinstance(coding, JpegCoding) else None
        yield Pair(source.stem, read_image(path).pixels, original, known)


def _decoded_vvc(folder: Path, cache_dir: str) -> Iterator[Pair]:
    pairs = pipeline.eval_pairs(
        {
            "source": "embedded",
            "codec": "vvc",
            "qp": VVC_QP,
            "preset": "faster",
            "colors": "clean",
            "cache_dir": cache_dir,
        }
    )
    for pair in pairs:
        write_image(folder / "lq" / f"{pair.name}.png", pair.lq)
        yield pair


def load_restorer(model: str) -> Restorer:
    """Loads shipped weights; tells them the QP if they adapt to it, as who coded a video may do.

    A JPEG tells its quality itself.
    """
    loaded = load_weights(model)
    tell = model == CODEC_MODEL and loaded.config.quality_range
    quality = CODINGS[model]["qp"] if tell else None
    return Restorer(loaded.config, loaded.variables, coding_quality=quality)


def restore_photographs(
    model: str,
    pairs: Iterable[Pair],
    folder: Path,
    tell: Callable[[str], None],
) -> Evaluation:
    """Restores photographs, measures them, and writes pictures and the record.

    Args:
        model: Name of shipped weights, a key of CODINGS.
        pairs: What `coded_photographs` returned for this folder.
        folder: Gets restored/, comparison/ and the record, which names the figures of all.
        tell: Called with a line on each photograph as soon as it is done.
    """
    restorer = load_restorer(model)
    images = []
    for pair in pairs:
        done = evaluate_pairs(restorer, [pair], save_images=folder / "restored")
        (image,) = done.images
        restored = read_image(folder / "restored" / f"{pair.name}.png").pixels
        sheet = compare({"coded": pair.lq, "restored": restored, "original": pair.gt})
        write_image(folder / "comparison" / f"{pair.name}.png", sheet)
        images.append(image)
        before, after = image.figures["lq_psnr_y"], image.figures["psnr_y"]
        tell(f"{pair.name}: {_decibels(before)} coded, {_decibels(after)} restored")
    evaluation = Evaluation(tuple(images), coding=CODINGS[model])
    write_json(folder / RECORD_NAME, evaluation.to_dict())
    return evaluation


def _decibels(value: float | None) -> str:
    return "without loss" if value is None else f"{value:.2f} dB"
