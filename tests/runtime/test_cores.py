"""The cores that are counted are those that a process may use."""

import os

import pytest

from armoe_jax.runtime.cores import usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be forbidden here")
def test_forbidden_cores_do_not_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 5, 7})
    assert usable_cores() == 3


@pytest.mark.parametrize(("cores", "expected"), [(6, 6), (None, 1)])
def test_systems_that_forbid_none(monkeypatch, cores, expected):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert usable_cores() == expected
