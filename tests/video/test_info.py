"""What tags, options and assumptions make of a video's colours and rate."""

from fractions import Fraction
from pathlib import Path

import pytest

from armoe_jax.video import VideoOptions, yuv
from armoe_jax.video.color import ColorSpec
from armoe_jax.video.info import ColorTags, SourceInfo, color_spec, output_tags

PATH = Path("in.mkv")
UNTAGGED = ColorTags()


def spec(tags=UNTAGGED, height=480, siting="left", **options):
    return color_spec(PATH, tags, height, siting, VideoOptions(**options))


def source(tags=UNTAGGED, color=None, **fields):
    values = {"rate": Fraction(25), "time_base": Fraction(1, 25)} | fields
    return SourceInfo("h264", yuv.YuvFormat(64, 48), color or ColorSpec(), tags, **values)


@pytest.mark.parametrize(("height", "matrix"), [(719, "bt601"), (720, "bt709")])
def test_without_a_tag_the_height_decides(height, matrix):
    assert spec(height=height) == ColorSpec(matrix, False, "left")


@pytest.mark.parametrize(
    ("tag", "matrix"),
    [(1, "bt709"), (4, "fcc"), (5, "bt601"), (6, "bt601"), (7, "smpte240m"), (9, "bt2020")],
)
def test_tags_go_before_the_height_and_options_before_tags(tag, matrix):
    tags = ColorTags(matrix=tag, range=2)
    assert spec(tags, 1080) == spec(tags, 240) == ColorSpec(matrix, True, "left")
    told = spec(tags, color_matrix="bt2020", color_range="limited", chroma_siting="topleft")
    assert told == ColorSpec("bt2020", False, "topleft")


def test_a_matrix_that_is_not_known_must_be_overridden():
    tags = ColorTags(matrix=8)  # YCgCo
    with pytest.raises(ValueError, match=r"in\.mkv: colour matrix 8 .* override it with --color-m"):
        spec(tags)
    assert spec(tags, color_matrix="bt601").matrix == "bt601"


def test_tags_of_the_output_are_those_of_the_input():
    tags = ColorTags(matrix=9, range=1, primaries=9, transfer=16)
    assert output_tags(source(tags), VideoOptions(), resized=True) == tags
    assert output_tags(source(), VideoOptions(), resized=False) == UNTAGGED


def test_tags_that_a_player_would_guess_wrong_are_stated():
    # Twice as high, untagged pictures of bt601 would be taken for bt709.
    tags = output_tags(source(), VideoOptions(), resized=True)
    assert tags == ColorTags(matrix=6)
    color = ColorSpec("bt709", True)
    tags = output_tags(source(color=color, is_rgb=True), VideoOptions(), resized=False)
    assert tags == ColorTags(matrix=1, range=2)
    options = VideoOptions(color_matrix="bt2020", color_range="limited")
    told = source(ColorTags(matrix=1, range=2, primaries=1), ColorSpec("bt2020", False))
    assert output_tags(told, options, resized=False) == ColorTags(matrix=9, range=1, primaries=1)


@pytest.mark.parametrize(
    ("given", "grid"),
    [(None, 25), (Fraction(25), 25), (Fraction(50), 50), (Fraction(51), 25), (Fraction(24), 25)],
)
def test_an_even_rate_is_at_most_twice_the_average(given, grid):
    assert source(grid_rate=given).grid_rate == grid
