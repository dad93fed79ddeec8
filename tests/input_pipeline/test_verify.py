import json

import numpy as np
import pytest
from PIL import Image

from armoe_jax import cli
from input_pipeline.build import build
from input_pipeline.image_files import list_images, read_rgb
from input_pipeline.manifest import Tree
from input_pipeline.verify import verify_tree


@pytest.mark.parametrize("codec", ["jpeg", "avc"])
def test_verify_finds_every_kind_of_damage(codec, source_folder, tmp_path, capsys):
    out = tmp_path / "out"
    build(list_images(source_folder), [Tree(out, codec, 40)])
    assert cli.main(["build-dataset", "--out", str(out), "--verify"]) == 0
    assert "1 trees verified, 0 problems" in capsys.readouterr().out
    damaged = np.array(read_rgb(out / "lq/a.png"))
    damaged[0, 0, 0] ^= 1
    Image.fromarray(damaged).save(out / "lq/a.png")
    (out / "gt/b.png").write_bytes(b"")
    stream = next((out / "bitstreams").glob("c.*"))
    stream.write_bytes(stream.read_bytes() + b"\0")
    (out / "lq/stranger.png").write_bytes(b"")
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["images"][0] |= {"bpp": 0.5, "qp": 9}
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert cli.main(["build-dataset", "--out", str(out), "--verify"]) == 1
    errors = capsys.readouterr().err
    assert "a: lq checksum is" in errors
    assert "b.png: the file is empty" in errors
    assert f"c: bits is {8 * stream.stat().st_size}, the manifest says" in errors
    assert "c: bitstream checksum" in errors
    assert "a: bpp is" in errors
    assert "a: qp is 40, the manifest says 9" in errors
    assert "stranger.png: not in the manifest" in errors
    assert json.loads((out / "manifest.json").read_text()) == manifest


def test_verify_decodes_the_bitstreams_again(source_folder, tmp_path):
    out = tmp_path / "out"
    build(list_images(source_folder), [Tree(out, "jpeg", 40)])
    build(list_images(source_folder), [Tree(tmp_path / "other", "jpeg", 41)])
    stream = (tmp_path / "other/bitstreams/a.jpg").read_bytes()
    (out / "bitstreams/a.jpg").write_bytes(stream)
    assert any(
        "a: decoded bitstream is" in problem for image in verify_tree(out) for problem in image
    )
