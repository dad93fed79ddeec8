"""The model card of weights that come with the package: a record of facts as Markdown."""

import string
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from armoe_jax.evaluation.record import Evaluation, condition
from armoe_jax.evaluation.tables import markdown, number, usage_table

TEMPLATE = string.Template("""\
---
license: other
license_name: research-and-non-commercial-use
license_link: NOTICE.md
library_name: armoe_jax
pipeline_tag: image-to-image
tags: [compression-artifact-removal, image-restoration, $codec, jax, flax]
metrics: [psnr, ssim]
---

# $name

A small ARMoE network that removes artifacts of $artifacts from 8-bit RGB images: one network for
all of these qualities$adaptation. Weights: `$name.safetensors`, $parameters parameters,
$bytes bytes, SHA-256 `$sha256`.

    armoe-jax restore photo.png -o restored.png --model $name

## Licence

**Research and non-commercial use only; not under the Apache License of the code.** The images that
the network was trained on are offered on such terms; see `NOTICE.md` beside this file.

## Training

Data: the train part of BSDS500 (200 JPEG images, halved, which removes most of their own
artifacts) and 171 further photographs: 91 of Urban100, and 80 of Sun-Hays80, halved. No image of a
test set. $coding Clean colour conversion. No result on Urban100 or BSDS500's train images may be
reported with these weights.

Recipe: $loss, Adam, learning rate $rate ($schedule), batches of $batch patches of
$patch x $patch pixels, flips and transposition, seed $seed; moving average of the weights.
$steps of $planned steps, $hours hours of wall-clock time ($device, which did other work as well),
$speed images/s.$note

    $command

The losses of the first $num_first steps are in `$name.json`; repeat them with

    python scripts/maintain/ship_weights.py repeat $name $places

Validation during training, on a few Kodak images (PSNR-Y in dB): $curve.

## Results

$results

## Limits

Trained on photographs, on still pictures of one encoder and its all-intra mode. $others Screen
content and drawings were not measured. Not for images of the `paper` colour mode. It looks
at one picture at a time, and a picture that is hardly compressed may lose rather than gain: see the
worst image above.
""")

WIDTH = 100
"""Longest line of running text, in characters."""

NOT_MEASURED = "Not measured yet."


def render(record: Mapping[str, Any]) -> str:
    """Returns the card of a record that `scripts/maintain/ship_weights.py` has written."""
    config, training = record["config"], record["training"]
    data, train = config["data"], config["train"]
    card = TEMPLATE.substitute(
        name=record["name"],
        parameters=f"{record['num_parameters']:,}",
        bytes=f"{record['num_bytes']:,}",
        sha256=record["sha256"],
        codec=_codec(data),
        artifacts=_artifacts(data),
        adaptation=_adaptation(config["model"]),
        coding=_coding(data),
        loss=_loss(train),
        rate=config["optim"]["learning_rate"],
        schedule=config["optim"]["schedule"],
        batch=train["batch_size"],
        patch=data["patch_size"],
        seed=train["seed"],
        steps=f"{record['step']:,}",
        planned=f"{train['num_steps']:,}",
        hours=training["hours"],
        device=record["device"],
        speed=training["images_per_second"],
        note=_note(record),
        command=record["command"],
        num_first=len(record["first_losses"]),
        places=" ".join(f"--place {name}=DIR" for name in record["places"]),
        curve=_curve(training["curve"]),
        others=_others(data),
        results=_results(record.get("results", [])),
    )
    return "\n\n".join(map(_wrapped, card.rstrip("\n").split("\n\n"))) + "\n"


def _wrapped(paragraph: str) -> str:
    """Breaks the lines of running text anew; what is none (the header, code) stays as it is."""
    if paragraph.startswith(("---", "#", "    ", "|")):
        return paragraph
    return textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)


def _note(record: Mapping[str, Any]) -> str:
    note = record.get("note", "")
    return f" {note}" if note else ""


def _codec(data: Mapping[str, Any]) -> str:
    return "jpeg" if data["source"] == "jpeg" else data["codec"]


def _artifacts(data: Mapping[str, Any]) -> str:
    if data["source"] == "jpeg":
        low, high = data["jpeg_quality"]
        sampled = dict.fromkeys(data["jpeg_subsampling"])
        return f"JPEG (quality {low} to {high}, {' and '.join(sampled)})"
    qps = data["qps"] or [data["qp"]]
    return f"{data['codec'].upper()} (QP {min(qps)} to {max(qps)})"


def _adaptation(model: Mapping[str, Any]) -> str:
    if not model.get("quality_range"):
        return ", told none of them"
    if model.get("interval_head"):
        return (
            ". It reads the quantiser steps and coefficients from the JPEG file itself, adapts to "
            "them and knows which interval each coefficient lay in; of images whose file is gone "
            "(screenshots, JPEGs saved as PNG, files that look coded twice) it estimates the "
            "quality, and gains less"
        )
    return (
        ". It estimates from the whole image how strongly it was coded, and adapts to that. The "
        "estimate errs towards mild coding, but too high for images that were JPEGs before, whose "
        "older artifacts it counts in: who knows better tells it (`--coded-at QP`)"
    )


def _loss(train: Mapping[str, Any]) -> str:
    if train.get("objective") == "quality":
        return "this last run trains the estimator of the quality alone: weighted squared error"
    planes = " over luma and chroma, weighted 6:1:1" if train["loss_colors"] == "ycbcr" else ""
    return f"{train['loss']} loss{planes}"


def _coding(data: Mapping[str, Any]) -> str:
    if data["source"] == "jpeg":
        coding = "Patches are coded as JPEG on the fly, at a random quality each, by Pillow"
    else:
        qps = ", ".join(map(str, data["qps"] or [data["qp"]]))
        coding = f"Coded all-intra by `armoe-jax build-dataset --codec {data['codec']}` at QP {qps}"
    return f"{coding}{_shares(data['mixture'])}."


def _shares(mixture: Sequence[Mapping[str, Any]]) -> str:
    """Tells how often the parts of a mixture are drawn."""
    if not mixture:
        return ""
    total = sum(part.get("weight", 1.0) for part in mixture)
    shares = [f"{part.get('weight', 1.0) / total:.0%} {_part(part)}" for part in mixture]
    return f"; of the patches {' and '.join(shares)}"


def _part(part: Mapping[str, Any]) -> str:
    """Tells by what a part of a mixture differs: its qualities or its folder."""
    words = []
    if "jpeg_quality" in part:
        words.append("from quality {} to {}".format(*part["jpeg_quality"]))
    if "jpeg_on_grid" in part:
        words.append("on the coding grid" if part["jpeg_on_grid"] else "anywhere on it")
    if part.get("jpeg_twice"):
        words.append(f"({part['jpeg_twice']:.0%} of them coded twice)")
    if "patch_grid" in part:
        grid = part["patch_grid"]
        words.append("anywhere" if grid == 1 else f"at multiples of {grid} pixels")
    if "qps" in part:
        words.append(f"at QP {', '.join(map(str, part['qps']))}")
    words += [f"from {part[folder]}" for folder in ("root", "gt") if folder in part]
    return " ".join(words) or "at any of these"


def _others(data: Mapping[str, Any]) -> str:
    if data["source"] == "jpeg":
        return "It is for JPEG alone."
    return "The table shows what was measured of others."


def _curve(curve: Sequence[Sequence[float | int]]) -> str:
    points = [f"step {step:.0f}: {after:.3f} from {before:.3f}" for step, after, before in curve]
    return "; ".join(points) or "none"


def _results(results: Sequence[Mapping[str, Any]]) -> str:
    if not results:
        return NOT_MEASURED
    header = ["", "images", "input PSNR-Y", "restored", "gain", "worst image", "PSNR-RGB gain"]
    rows = [
        [
            condition(row),
            str(row["num_images"]),
            number("psnr_y", row["lq_psnr_y"]),
            number("psnr_y", row["psnr_y"]),
            number("psnr_y", row["gain_psnr_y"], signed=True),
            number("psnr_y", row["worst_image"]["gain_psnr_y"], signed=True),
            number("psnr_rgb", row["gain_psnr_rgb"], signed=True),
        ]
        for row in results
    ]
    used = [Evaluation.from_dict(row) for row in results if "expert_names" in row]
    usage = f"\n\nImages in percent for each expert:\n\n{usage_table(used)}" if used else ""
    return markdown(header, rows) + usage
