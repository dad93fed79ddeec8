import json

import pytest

from armoe_jax.training.resume import note_training_set


@pytest.fixture
def warned(tmp_path, caplog):
    """Returns a function that notes a training set and gives what was warned of."""

    def note(images):
        caplog.clear()
        with caplog.at_level("WARNING", logger="absl"):
            note_training_set(tmp_path, images)
        return caplog.text

    return note


def test_a_changed_training_set_is_told_with_what_changed(warned, tmp_path):
    assert warned({"a": [1, 2], "b": [3, 4], "c": [5, 6]}) == ""
    assert warned({"a": [1, 2], "b": [3, 4], "c": [5, 6]}) == ""
    told = warned({"a": [1, 2], "b": [3, 9], "d": [5, 6], "e": [7, 8]})
    assert "2 new (d, e), 1 gone (c), 1 changed (b)" in told
    assert set(json.loads((tmp_path / "training_set.json").read_text())) == {"a", "b", "d", "e"}


def test_many_names_are_cut(warned):
    warned({})
    assert "9 new (0, 1, 2, 3, 4, ...)" in warned({str(i): [i] for i in range(9)})


def test_a_damaged_list_is_written_again(warned, tmp_path):
    (tmp_path / "training_set.json").write_text("{")
    assert warned({"a": [1]}) == ""
    assert warned({}) != ""
