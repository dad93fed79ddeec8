"""Where compiled programs are kept."""

import jax
import pytest

from armoe_jax.runtime import compilation_cache


@pytest.fixture(autouse=True)
def restore_setting(monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv("ARMOE_JAX_CACHE", raising=False)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_default_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = compilation_cache.enable()
    assert folder == tmp_path / "armoe-jax" / "programs"
    assert folder.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(folder)


def test_choice_and_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ARMOE_JAX_CACHE", str(tmp_path / "one"))
    assert compilation_cache.enable() == tmp_path / "one"
    assert compilation_cache.enable(str(tmp_path / "two")) == tmp_path / "two"
    assert compilation_cache.enable("off") is None


def test_a_cache_chosen_for_jax_itself_stays(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert compilation_cache.enable() == tmp_path


def test_an_impossible_folder_is_no_error(tmp_path):
    (tmp_path / "file").write_text("x")
    assert compilation_cache.enable(str(tmp_path / "file" / "sub")) is None
    assert jax.config.jax_compilation_cache_dir is None
