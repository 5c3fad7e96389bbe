"""Names and paths in documentation and docstrings exist: ``clamp3.…``, files of this repository, links, tests."""

import pkgutil
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
NAME = re.compile(r"`(clamp3(?:\.(?!py\b)\w+)+)`")
PATH = re.compile(
    r"(?:benchmarks|classification|code|docs|examples|inference|preprocessing|recipes|retrieval|tests)/[\w./-]*"
)


def in_backticks(page):
    return re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))


def resolves(name):
    """Return whether a dotted name is a module, or an attribute of one; fields of dataclasses count."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        owner, _, attribute = name.rpartition(".")
        try:
            return attribute in getattr(pkgutil.resolve_name(owner), "__annotations__", ())
        except (ImportError, AttributeError):
            return False
    return True


def test_names_of_the_library_exist():
    sources = [path for folder in ("code", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    names = {(path.name, name) for path in PAGES + sources for name in NAME.findall(path.read_text(encoding="utf-8"))}
    assert len(names) > 150
    assert not [pair for pair in sorted(names) if not resolves(pair[1])]


def test_contracts_have_what_the_page_lists():
    """A contract's paragraph begins with its name in bold and its dotted name; the lower-case words are members."""
    found = 0
    for paragraph in ARCHITECTURE.read_text(encoding="utf-8").split("\n\n"):
        contract = re.match(r"\*\*\w+\*\*, `(clamp3[\w.]+)`: ((?:[^`.]*`\w+`)+)", paragraph)
        if contract and contract[1] != "clamp3.formats.Kind":
            members = re.findall(r"`([a-z_]+)`", contract[2])
            assert not [name for name in members if not resolves(f"{contract[1]}.{name}")], paragraph
            found += bool(members)
    assert found >= 5


def test_the_floors_are_those_that_lint_checks():
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("layers = [")[1].split("]")[0]
    layers = [set(layer.split(" | ")) for layer in re.findall(r'"(.+)"', contract)]
    rows = re.findall(
        r"^\| (`clamp3.+?) \|", ARCHITECTURE.read_text(encoding="utf-8").split("## From")[0], re.MULTILINE
    )
    assert [set(re.findall(r"clamp3\.(\w+)", row)) for row in rows] == layers[::-1]


def test_paths_exist():
    paths = {(page, PATH.fullmatch(word)[0]) for page in PAGES for text in in_backticks(page) for word in text.split()
             if PATH.fullmatch(word)}  # fmt: skip
    assert len(paths) > 60
    missing = [(page.name, path) for page, path in sorted(paths)
               if not any((folder / path).exists() for folder in (ROOT, ROOT / "code"))]  # fmt: skip
    assert not missing


def test_links_exist():
    pattern = re.compile(r"\]\(([^)#:]+)\)")
    links = [(page, link) for page in PAGES for link in pattern.findall(page.read_text(encoding="utf-8"))]
    assert len(links) > 10
    assert not [(page.name, link) for page, link in links if not (page.parent / link).exists()]


def test_tests_named_in_the_documentation_exist():
    pattern = re.compile(r"(?:tests/)?((?:cli|distributed|parity|unit)/\w+\.py)(?:::(\w+))?")
    found = {match for page in PAGES for match in pattern.findall(page.read_text(encoding="utf-8"))}
    assert len(found) > 40
    for file, name in sorted(found):
        path = ROOT / "tests" / file
        assert path.is_file(), file
        assert not name or re.search(rf"def {name}\(", path.read_text(encoding="utf-8")), f"{file}::{name}"
