from armoe_jax.cli import main
from armoe_jax.exported import load_export


def test_export(checkpoint, tmp_path, capsys):
    out = tmp_path / "x.armoe"
    words = ["export", checkpoint, "-o", str(out), "--tile", "16", "--platforms", "cpu"]
    assert main(words) == 0
    assert "largest difference" in capsys.readouterr().out
    assert load_export(out).info.platforms == ("cpu",)
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--no-check"]) == 0
    assert main([*words, "--overwrite", "--coded-at", "40"]) == 2
    assert "does not adapt to it" in capsys.readouterr().err
