"""The public door: names load on first use, and light ones stay light."""

import importlib
import subprocess
import sys

import pytest

import armoe_jax


def loaded_modules(program: str) -> set[str]:
    """Returns the top-level modules that a fresh process has loaded after a program."""
    program += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", armoe_jax.__all__)
def test_every_public_name_is_what_its_module_defines(name):
    found = getattr(armoe_jax, name)
    assert found.__name__ == name
    home = importlib.import_module(armoe_jax._HOME[name])
    assert getattr(home, name) is found


def test_names_are_listed_before_they_are_used():
    assert set(armoe_jax.__all__) <= set(dir(armoe_jax))


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'pnsr'.*'psnr'"):
        _ = armoe_jax.pnsr


def test_import_alone_loads_no_numeric_library():
    assert loaded_modules("import armoe_jax").isdisjoint({"jax", "flax", "numpy"})


@pytest.mark.parametrize("name", ["psnr", "ssim", "bd_rate", "bd_psnr"])
def test_metrics_do_not_start_an_accelerator(name):
    loaded = loaded_modules(f"import armoe_jax; armoe_jax.{name}")
    assert "numpy" in loaded
    assert loaded.isdisjoint({"jax", "flax", "optax", "tensorflow", "torch"})


def test_the_network_needs_neither_torch_nor_tensorflow():
    loaded = loaded_modules("import armoe_jax; armoe_jax.load_pretrained; armoe_jax.Restorer")
    assert "jax" in loaded
    assert loaded.isdisjoint({"tensorflow", "torch"})
