"""What README and docs/ promise: links that lead somewhere, commands that exist, one minute of reading."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from estimater import FoundationPose

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """The names that headings get on a page: lower case, words joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_modules_that_exist(page: Path) -> None:
    modules = re.findall(r"python -m ((?!venv)[a-z_][\w.]*\w)", page.read_text(encoding="utf-8"))
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_that_are_named_exist(page: Path) -> None:
    code = re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))
    named = {name for text in code for name in re.findall(r"(?<![\w./*-])[\w./]+\.(?:py|cu)\b", text)}
    missing = [name for name in named - {"utils.py"} if not any(f"/{path}".endswith(f"/{name}") for path in sources())]
    assert not missing


@functools.cache
def sources() -> list[str]:
    """The project's own files, by their paths from its root."""
    folders = [path for path in REPOSITORY.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found = [*REPOSITORY.glob("*.py"), *(path for folder in folders for path in folder.rglob("*"))]
    return [path.relative_to(REPOSITORY).as_posix() for path in found if path.suffix in {".py", ".cu"}]


def test_readme_is_short_and_its_table_too() -> None:
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    table = lines[lines.index("<!-- measured:begin -->") + 1 : lines.index("<!-- measured:end -->")]
    assert 1 <= len(table) - 2 <= 6  # the heading and the line below it are no rows


def test_readme_calls_the_estimator_by_names_that_it_has() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    called = {ast.unparse(call.func): {keyword.arg for keyword in call.keywords} for call in calls}
    for name in ("register", "track_one"):
        known = set(inspect.signature(getattr(FoundationPose, name)).parameters)
        assert called[f"estimator.{name}"] <= known
