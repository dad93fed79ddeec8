"""Arms of a comparison: what of the configuration each changes."""

import expert_arms

import configs


def test_arms_change_the_mixture_alone():
    config = configs.load("configs/armoe_w.py:jpeg")
    changed = {name: expert_arms.of_arm(name, config) for name in expert_arms.arms(config)}
    assert list(changed) == [
        "plain", "none", "dct", "fft", "haar", "swt", "dense", "image", "window", "more",
        "released",
    ]  # fmt: skip
    fields = {
        name: (arm.model.experts, arm.model.route, arm.model.dispatch)
        for name, arm in changed.items()
        if name != "released"
    }
    assert fields["none"] == ((), "window", "capacity")
    assert fields["haar"] == (("haar",), "window", "capacity")
    assert fields["dense"][1:] == ("window", "dense")
    assert fields["more"] == fields["none"]
    assert changed["more"].model.depth == config.model.depth + 1
    assert expert_arms.of_arm("haar+dct", config).model.experts == ("haar", "dct")
    assert fields["image"] == (("dct", "fft", "haar", "swt"), "image", "capacity")
    for arm in changed.values():
        assert arm.data == config.data
    released = changed["released"]
    assert released.model.mixture == "released"
    for name in ("seed", "batch_size", "accumulation_steps", "loss", "loss_colors", "ema_decay"):
        assert released.train[name] == config.train[name], name
    assert released.optim.warmup_steps == config.optim.warmup_steps
    assert config == configs.load("configs/armoe_w.py:jpeg")
