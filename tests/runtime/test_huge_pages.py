"""Commands restart on huge pages where they would otherwise go without."""

import os
import subprocess
import sys

import pytest

from armoe_jax.runtime.huge_pages import VARIABLE, restart_with_huge_pages, with_huge_pages

GLIBC = ("glibc", "2.36")
ON_REQUEST = "always [madvise] never\n"
REQUEST = "glibc.malloc.hugetlb=1"


def test_asks_where_the_kernel_waits_to_be_asked():
    assert with_huge_pages({}, ON_REQUEST, GLIBC) == REQUEST


def test_keeps_other_tunables():
    tunables = {VARIABLE: "glibc.malloc.arena_max=1"}
    wanted = f"glibc.malloc.arena_max=1:{REQUEST}"
    assert with_huge_pages(tunables, ON_REQUEST, GLIBC) == wanted


@pytest.mark.parametrize(
    ("environment", "switch", "libc"),
    [
        ({VARIABLE: REQUEST}, ON_REQUEST, GLIBC),  # done already, or a loop would begin
        ({VARIABLE: "glibc.malloc.hugetlb=0"}, ON_REQUEST, GLIBC),  # the user's wish
        ({}, "[always] madvise never", GLIBC),
        ({}, "always madvise [never]", GLIBC),
        ({}, "", GLIBC),  # a kernel without the switch, or no Linux
        ({}, ON_REQUEST, ("glibc", "2.31")),
        ({}, ON_REQUEST, ("", "")),
    ],
)
def test_leaves_the_rest_alone(environment, switch, libc):
    assert with_huge_pages(environment, switch, libc) is None


def test_restarted_process_keeps_id_and_arguments(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "from armoe_jax.runtime import huge_pages\n"
        "huge_pages._kernel_switch = lambda: '[madvise]'\n"
        "huge_pages.platform.libc_ver = lambda: ('glibc', '2.36')\n"
        "print(os.getpid(), flush=True)\n"
        "huge_pages.restart_with_huge_pages()\n"
        "print(os.getpid(), sys.argv[1:], os.environ['GLIBC_TUNABLES'], flush=True)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, program, "an argument", "--flag"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    first, second, third = done.stdout.splitlines()
    assert first == second  # the program began twice, in one process
    assert third == f"{first} ['an argument', '--flag'] {REQUEST}"


def test_a_process_that_has_them_goes_on(monkeypatch):
    monkeypatch.setenv(VARIABLE, REQUEST)
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("restarted"))
    restart_with_huge_pages()
