"""What the documentation says exists: sections, links, files, commands, options, names."""

import functools
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import armoe_jax
import configs
from armoe_jax import cli

ROOT = Path(__file__).parent.parent
PACKAGES = ("armoe_jax", "configs", "input_pipeline", "scripts", "tests")
GUIDES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "scripts" / "maintain" / "gpu" / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("armoe_jax/weights/*.md")),
]
SPECIFICATION = ROOT / "docs" / "architecture.md"

_CITATION = re.compile(r"architecture\.md\s+sections?\s+([\d.]+(?:(?:,| and| to)\s[\d.]+)*)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"(?:armoe_jax|configs|docs|input_pipeline|scripts|tests)/[\w./*-]*\w")
_EXAMPLES = ("tests/a/test_b.py",)
_OPTION = re.compile(r"--[a-z][a-z-]+")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _prose(text: str) -> str:
    return _FENCE.sub("", text)


def _commands(text: str) -> list[list[str]]:
    """Returns the commands of all shell blocks as words, without comments."""
    blocks = [body for language, body in _FENCE.findall(text) if language in ("", "sh", "shell")]
    indented = re.findall(r"^    (?:armoe-jax|python|pip|make) .*$", _prose(text), re.MULTILINE)
    lines = "\n".join([*blocks, *indented]).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def _anchors(markdown: str) -> set[str]:
    """Returns the anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.+)$", _prose(markdown), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def _sections(text: str) -> set[str]:
    return set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", text, re.MULTILINE))


def _cited(source: str) -> set[str]:
    """Returns the sections that a source file cites; "2 to 8" are seven."""
    cited = set()
    for numbers in _CITATION.findall(re.sub(r"\s+(?:#\s)?", " ", source)):
        parts = re.split(r",? (?:and )?", numbers.rstrip("."))
        for i, part in enumerate(parts):
            if part == "to":
                first, last = int(parts[i - 1]), int(parts[i + 1].rstrip("."))
                cited |= {str(n) for n in range(first, last)}
            else:
                cited.add(part.rstrip("."))
    return cited


def test_citations_are_found_over_line_breaks_and_in_ranges():
    source = '"""A. Source: architecture.md\n    sections 6, 6.1 and 6.2.\n"""\n# architecture.md\n'
    source += "# section 13; so\nx = 1  # architecture.md sections 2 to 4."
    assert _cited(source) == {"6", "6.1", "6.2", "13", "2", "3", "4"}


def test_every_cited_section_exists():
    present = _sections(SPECIFICATION.read_text())
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    cited = {_name(path): _cited(path.read_text()) for path in files if path != Path(__file__)}
    assert sum(map(len, cited.values())) > 20
    assert {name: gone for name, numbers in cited.items() if (gone := numbers - present)} == {}


def test_the_specification_refers_to_sections_it_has():
    text = SPECIFICATION.read_text()
    assert set(re.findall(r"\bsection (\d+(?:\.\d+)?)\b", text)) <= _sections(text)


@pytest.mark.parametrize("guide", GUIDES, ids=_name)
def test_links_lead_somewhere(guide):
    for target in _LINK.findall(_prose(guide.read_text())):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (guide.parent / path).resolve() if path else guide
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file.read_text()), target


@pytest.mark.parametrize("guide", GUIDES, ids=_name)
def test_files_that_are_named_exist(guide):
    for path in _PATH.findall(" ".join(re.findall(r"`([^`\n]+)`", guide.read_text()))):
        assert path in _EXAMPLES or list(ROOT.glob(path)), path


@pytest.mark.parametrize("guide", GUIDES, ids=_name)
def test_commands_are_what_the_programs_accept(guide):
    for words in _commands(guide.read_text()):
        while "=" in words[0]:  # VARIABLE=value before the command
            words = words[1:]
        program, *rest = words
        check = _CHECKS.get(program)
        if check is not None:
            check(rest)


_parser = functools.cache(cli.build_parser)


def _check_cli(words: list[str]) -> None:
    _parser().parse_args(words)


def _check_python(words: list[str]) -> None:
    if words[:2] == ["-m", "armoe_jax.main"]:
        _check_training(words[2:])
    elif words[0].endswith(".py"):
        source = (ROOT / words[0]).read_text()
        doors = re.findall(r'entry_point\("([\w-]+)"\)', source)
        if doors:
            _check_cli([*doors, *words[1:]])
        else:
            for option in _options(words):
                assert f'"{option}"' in source, (words[0], option)


def _check_training(words: list[str]) -> None:
    config = configs.load(words[words.index("--config") + 1])
    for option in _options(words):
        if option.startswith("--config."):
            value = config
            for field in option.removeprefix("--config.").split("."):
                value = value[field]
        else:
            assert option in ("--config", "--workdir", "--mode")


def _options(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


def _check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        pattern = rf"^{word.partition('=')[0]}\s*\??:?=" if "=" in word else rf"^{word}:"
        assert re.search(pattern, makefile, re.MULTILINE), word


def _check_pip(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        found = re.fullmatch(r"(?:\.|armoe-jax)\[([\w,-]+)\]", word)
        for extra in found[1].split(",") if found else []:
            assert extra in project["optional-dependencies"], word


_CHECKS = {
    "armoe-jax": _check_cli,
    "python": _check_python,
    "make": _check_make,
    "pip": _check_pip,
}


def _all_options() -> set[str]:
    parser = _parser()
    subparsers = next(a for a in parser._actions if a.dest == "command").choices
    known = {name for p in (parser, *subparsers.values()) for name in p._option_string_actions}
    known |= {"--config", "--workdir", "--mode"}
    for script in ROOT.glob("scripts/maintain/*.py"):
        known |= set(re.findall(r'"(--[a-z-]+)"', script.read_text()))
    return known


def test_options_named_in_prose_exist():
    known = _all_options()
    for guide in GUIDES:
        for code in re.findall(r"`([^`\n]+)`", _prose(guide.read_text())):
            for option in _OPTION.findall(code):
                assert option in known, (_name(guide), code)


@pytest.mark.parametrize("guide", GUIDES, ids=_name)
def test_python_blocks_use_names_that_exist(guide):
    for language, body in _FENCE.findall(guide.read_text()):
        if language == "python":
            compile(body, str(guide), "exec")
            for name in re.findall(r"\barmoe_jax\.(\w+)", body):
                assert hasattr(armoe_jax, name) or (ROOT / "armoe_jax" / name).is_dir(), name


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [project["version"]]
    assert armoe_jax.__version__ == project["version"]
