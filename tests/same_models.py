"""Comparison of models, bit by bit."""


def assert_same_model(left, right):
    assert left.config == right.config
    left, right = _flat(left.variables), _flat(right.variables)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].tobytes() == right[name].tobytes(), name


def _flat(tree, prefix=""):
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {k: v for name in tree for k, v in _flat(tree[name], f"{prefix}/{name}").items()}
