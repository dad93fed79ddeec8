import json

import pytest

from input_pipeline.build import build
from input_pipeline.image_files import list_images
from input_pipeline.manifest import Tree, load_manifest


def test_damaged_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json: not JSON .*; delete it and build again"):
        load_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="not a manifest of format 1"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(codec=["jpeg"]), "codec is"),
        (lambda m: m.update(qp="40"), "qp is '40'"),
        (lambda m: m.update(images={}), "images is no list"),
        (lambda m: m["images"].append(3), "3 is no record"),
        (lambda m: m["images"][0].update(name="../../secret"), "name is"),
        (lambda m: m["images"][0].update(width=None), "width is None"),
        (lambda m: m["images"][0].update(psnr_y=float("nan")), "psnr_y is nan"),
        (lambda m: m["images"][0].pop("checksums"), "checksums is None"),
    ],
)
def test_manifest_with_wrong_values(source_folder, tmp_path, change, message):
    tree = Tree(tmp_path / "out", "jpeg", 40)
    build(list_images(source_folder), [tree])
    path = tree.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message):
        load_manifest(tree.folder)
