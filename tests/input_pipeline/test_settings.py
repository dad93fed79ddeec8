import ml_collections
import pytest

from armoe_jax.runtime.files import user_cache_folder
from input_pipeline.codecs import CodecOptions
from input_pipeline.settings import DataConfig, default_config


def test_defaults_survive_a_config_dict():
    config = ml_collections.ConfigDict(default_config())
    config.lock()
    with config.unlocked():
        config.qps = (22, 37)
        config.mixture = ({"weight": 2}, {"source": "jpeg", "gt": "clean"})
    parsed = DataConfig.from_mapping(config)
    assert parsed.qualities == (22, 37)
    first, second = parsed.components()
    assert (first.source, first.weight, first.qps) == ("embedded", 2.0, (22, 37))
    assert (second.source, second.weight, second.gt) == ("jpeg", 1.0, "clean")


def test_lists_become_tuples():
    assert DataConfig.from_mapping({"jpeg_quality": [20, 30]}).jpeg_quality == (20, 30)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"sauce": "folder"}, KeyError, "data has no field 'sauce'; it has source"),
        ({"source": "cloud"}, ValueError, "data.source is 'cloud'; choose one of 'embedded'"),
        ({"codec": "vp9"}, ValueError, "data.codec is 'vp9'"),
        ({"colors": "dirty"}, ValueError, "data.colors is 'dirty'"),
        ({"cache": "disk"}, ValueError, "data.cache is 'disk'; choose one of 'none', 'memory'"),
        ({"qp": "27"}, TypeError, "data.qp is '27', expected a value of int"),
        ({"qp": True}, TypeError, "data.qp is True"),
        ({"augment": 1}, TypeError, "data.augment is 1, expected a value of bool"),
        ({"patch_size": 0}, ValueError, "data.patch_size is 0, expected at least 1"),
        ({"num_workers": -1}, ValueError, "data.num_workers is -1"),
        ({"jpeg_quality": (90, 10)}, ValueError, r"data.jpeg_quality is \(90, 10\)"),
        ({"jpeg_subsampling": ()}, ValueError, "data.jpeg_subsampling is empty"),
        ({"jpeg_subsampling": ("4:1:1",)}, ValueError, "data.jpeg_subsampling is '4:1:1'"),
        ({"patch_grid": 0}, ValueError, "data.patch_grid is 0, expected at least 1"),
        (
            {"mixture": ({"patch_grid": 1}, {"patch_grid": 24})},
            ValueError,
            "data.patch_grid is 24, which does not divide patch_size 64: flipped",
        ),
        (
            {"patch_grid": 8, "cache": "array_record"},
            ValueError,
            "data.patch_grid is 8, but the sub-images .* choose cache 'memory' or 'none'",
        ),
        ({"patch_grid": 8, "source": "jpeg"}, ValueError, "set data.jpeg_on_grid instead"),
        ({"mixture": ({"weight": 0.0},)}, ValueError, "weight is 0.0, expected a positive number"),
        ({"mixture": ({"cache": "none"},)}, KeyError, "data has no field 'cache'"),
        (
            {"cache": "array_record", "subimage_size": 32},
            ValueError,
            "data.subimage_size is 32, smaller than patch_size 64",
        ),
    ],
)
def test_wrong_fields_are_refused(fields, kind, message):
    with pytest.raises(kind, match=message):
        DataConfig.from_mapping(fields).components()


def test_cache_folder(tmp_path):
    assert DataConfig(cache_dir=str(tmp_path)).cache_folder() == tmp_path
    assert DataConfig().cache_folder() == user_cache_folder()


def test_options_of_the_embedded_codec():
    options = DataConfig.from_mapping({"preset": "faster", "colors": "paper"}).codec_options
    assert options == CodecOptions(preset="faster", colors="paper")
