"""Which files a command line means, and where results go."""

from pathlib import Path

import pytest

from armoe_jax.images.files import find_images, images_in, match_stems, output_paths


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", ".hidden.png", "notes.txt", "sub/c.webp"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "in"


def names(paths):
    return [path.name for path in paths]


def test_files_folders_and_patterns(folder):
    assert names(find_images([folder])) == ["a.JPG", "b.png"]
    assert names(find_images([folder / "notes.txt", folder])) == ["notes.txt", "a.JPG", "b.png"]
    assert names(find_images([str(folder / "**" / "*.webp")])) == ["c.webp"]
    assert names(find_images([folder / "b.png", str(folder / "*.png")])) == ["b.png"]


def test_what_a_folder_leaves_out_is_told(folder, caplog):
    with caplog.at_level("INFO", logger="absl"):
        find_images([folder])
    assert "1 files without the suffix of an image are left out, such as notes.txt" in caplog.text


def test_missing_inputs_are_named(folder):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_images([folder / "nowhere.png"])
    with pytest.raises(FileNotFoundError, match="no file matches"):
        find_images([str(folder / "*.tiff")])
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        images_in(folder / "empty")
    with pytest.raises(FileNotFoundError, match="no folder"):
        images_in(folder / "b.png")


def test_output_names(tmp_path):
    a, b = Path("x/a.png"), Path("y/b.jpeg")
    assert output_paths([a], tmp_path / "out.webp") == [tmp_path / "out.webp"]
    assert output_paths([a, b], tmp_path) == [tmp_path / "a.png", tmp_path / "b.jpeg"]
    assert output_paths([a], tmp_path, name_suffix="_r", image_format="TIFF") == [
        tmp_path / "a_r.tiff"
    ]


def test_an_output_of_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"q\.xyz: the suffix '\.xyz' is not that of an image .*q\.xyz/"
    ):
        output_paths([Path("a.png")], tmp_path / "q.xyz")
    with pytest.raises(
        ValueError, match=r"all\.png is the name of a file; 2 results need a folder"
    ):
        output_paths([Path("a.png"), Path("b.png")], tmp_path / "all.png")
    # What ends in a slash, or exists, is a folder.
    for name in ("v1.2", "x.png"):
        assert output_paths([Path("a.png")], f"{tmp_path}/{name}/") == [tmp_path / name / "a.png"]
    (tmp_path / "v1.2").mkdir()
    assert output_paths([Path("a.png")], tmp_path / "v1.2") == [tmp_path / "v1.2" / "a.png"]


def test_links_to_nothing_are_kept_and_folders_left_out(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "._a.png").write_bytes(b"x")
    (tmp_path / "a.ppm").write_bytes(b"x")
    assert names(images_in(tmp_path)) == ["a.ppm", "gone.png"]


def test_ambiguous_outputs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x/a\.png and y/a\.png would both become"):
        output_paths([Path("x/a.png"), Path("y/a.png")], tmp_path)
    with pytest.raises(ValueError, match="would both become"):
        output_paths([Path("x/a.png"), Path("x/a.jpg")], tmp_path, image_format="png")
    with pytest.raises(ValueError, match="'gif' is unknown"):
        output_paths([Path("a.png")], tmp_path, image_format="gif")
    with pytest.raises(ValueError, match="contradicts"):
        output_paths([Path("a.png")], tmp_path / "b.png", image_format="webp")
    (tmp_path / "file.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="need a folder"):
        output_paths([Path("a.png"), Path("b.png")], tmp_path / "file.png")


def test_pairs_are_matched_by_stem():
    gt = [Path("gt/a.png"), Path("gt/b.png")]
    lq = [Path("lq/b.jpg"), Path("lq/a.jpg")]
    assert match_stems(gt, lq) == [(gt[0], lq[1]), (gt[1], lq[0])]


def test_unmatched_files_are_named():
    gt, lq = [Path("gt/a.png"), Path("gt/b.png")], [Path("lq/a.jpg"), Path("lq/c.jpg")]
    with pytest.raises(ValueError, match=r"gt/b\.png has no input of the stem 'b'"):
        match_stems(gt, lq)
    with pytest.raises(ValueError, match=r"lq/c\.jpg has no original"):
        match_stems(gt[:1], lq)
    with pytest.raises(ValueError, match=r"gt/b\.png \(and 1 more\)"):
        match_stems([*gt, Path("gt/d.png")], lq)
    with pytest.raises(ValueError, match="same stem"):
        match_stems([Path("gt/a.png"), Path("gt/a.jpg")], lq)
