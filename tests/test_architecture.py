"""The layout of the project (docs/architecture.md), read off every source file: who imports whom, and file names."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.architecture_rules import (
    ALLOWED,
    DEFERRED,
    FREE,
    HOMES,
    MAXIMUM_LINES,
    MESH_PACKAGES,
    OWN,
    SHARED_CLASS_NAMES,
)

REPOSITORY = Path(__file__).resolve().parent.parent


@cache
def source_files() -> list[Path]:
    """Python files of the project, not of environments and results that lie in the checkout."""
    skipped = {"venv", "debug", "runs", "build", "dist"}
    relative = (path.relative_to(REPOSITORY) for path in REPOSITORY.rglob("*.py"))
    return sorted(path for path in relative if not any(part.startswith(".") or part in skipped for part in path.parts))


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((REPOSITORY / path).read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.Module, path: Path) -> Iterator[str]:
    """Full names of all that a file imports, wherever in the file; `from a import b` gives a.b."""
    package = [*path.parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, node.module] if node.module else base)
            yield from (f"{prefix}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and node.attr == "aruco" and ast.unparse(node) == "cv2.aruco":
            yield "cv2.aruco"


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    return tuple(imports(tree_of(path), path))


def imported_files(path: Path, files: dict[str, Path]) -> set[str]:
    """The modules among `files` that a file imports, wherever in it."""
    names = ((name, name.rpartition(".")[0]) for name in imports_of(path))
    return {next(module for module in pair if module in files) for pair in names if files.keys() & set(pair)}


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes that lead from one to the next and back to the first; [] if there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def home_package(module: str) -> str:
    """What counts as a module's own package: the rooms of pose6d and mesh_creation one by one, others as a whole."""
    parts = module.split(".")
    if parts[0] not in ("pose6d", "mesh_creation"):
        return parts[0]
    return ".".join(parts[:2]) if len(parts) > 2 or REPOSITORY.joinpath(*parts).is_dir() else module


def forbidden_imports(module: str, names: Iterable[str]) -> list[str]:
    allowed = next((names for pattern, names in ALLOWED if fnmatch(module, pattern)), ())
    own = (home_package(module),)
    return [
        name
        for name in names
        if within(name, OWN) and not within(name, (*allowed, *own)) and name not in ("pose6d", "mesh_creation")
    ]


@pytest.mark.parametrize(
    ("module", "source", "count"),
    [
        ("pose6d.geometry.camera", "from learning.inference.inputs import observe", 1),
        ("pose6d.geometry.camera", "from pose6d.rendering import make_renderer", 1),
        ("pose6d.geometry.camera", "from ..scenes import frame", 1),
        ("pose6d.geometry.camera", "from pose6d.errors import MeshError\nfrom .mesh import Mesh\nimport torch", 0),
        ("pose6d.report.video", "from pose6d.scenes.frame import Frame", 0),
        ("pose6d.device", "def f():\n    import pose6d.mesh.mesh", 1),
        ("learning.inference.inputs", "from pose6d.report import video\nimport estimater", 2),
        ("estimater", "from learning.training.predict_score import ScorePredictor\nfrom learning import runtime", 1),
        ("mesh_creation.scan_folder", "from estimater import FoundationPose\nfrom learning import inputs", 2),
        ("mesh_creation.board.pdf", "from mesh_creation.fusion.fuse import main\nfrom .layout import Board", 1),
        ("learning.datasets.__main__", "import run_demo", 0),
    ],
)
def test_the_rules_catch_what_they_should(module: str, source: str, count: int) -> None:
    path = Path(*module.split(".")).with_suffix(".py")
    assert len(forbidden_imports(module, imports(ast.parse(source), path))) == count


def test_imports_point_in_the_allowed_directions() -> None:
    wrong = [
        f"{path} imports {name}"
        for path in source_files()
        if not any(fnmatch(str(path), pattern) for pattern in FREE)
        for name in forbidden_imports(module_name(path), imports_of(path))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_files_import_one_another_in_a_circle() -> None:
    """Imports in functions and those for type checkers count: they hide a circle from Python, not from a reader."""
    assert sorted(find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == ["b", "b", "c"]
    files = {module_name(path): path for path in source_files() if not path.match("tests/*")}
    graph = {module: imported_files(path, files) - {module} for module, path in files.items()}
    assert not find_circle(graph), " <- ".join(find_circle(graph))


def test_every_package_has_a_rule() -> None:
    unruled = [
        str(path)
        for path in source_files()
        if not any(fnmatch(str(path), pattern) for pattern in FREE)
        and not any(fnmatch(module_name(path), pattern) for pattern, _ in ALLOWED)
    ]
    assert not unruled, f"add a rule to ALLOWED in tests/architecture_rules.py for {unruled}"


def test_inference_needs_no_training_code() -> None:
    """Whatever estimater.py and predict_*.py import, directly or through others, is no data set and no trainer."""
    files = {module_name(path): path for path in source_files()}
    waiting = [name for name in files if name == "estimater" or fnmatch(name, "learning.training.predict_*")]
    reached: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        waiting.extend(imported_files(files[module], files))
    training = [name for name in reached if within(name, ("learning.datasets",)) or ".train_" in name]
    assert not training, f"inference imports {training}"


@pytest.mark.parametrize("package", HOMES)
def test_package_stays_in_its_home(package: str) -> None:
    strays = [
        str(path)
        for path in source_files()
        if any(within(name, (package,)) for name in imports_of(path))
        and not any(fnmatch(str(path), pattern) for pattern in (*HOMES[package], *FREE))
    ]
    assert not strays, f"{package} belongs into {HOMES[package]}, found in {strays}"


def test_command_lines_are_read_only_in_entry_points() -> None:
    strays = []
    for path in source_files():
        if not any(within(name, ("tyro", "argparse")) for name in imports_of(path)):
            continue
        runs = (
            path.name == "__main__.py"
            or path == Path("pose6d/command.py")
            or "__name__" in {n.id for n in ast.walk(tree_of(path)) if isinstance(n, ast.Name)}
        )
        strays += [] if runs else [str(path)]
    assert not strays, f"these read a command line and cannot be run: {strays}"


TRIANGLE = "Mesh([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]], [[0, 1, 2]])"


@pytest.mark.parametrize(
    ("start", "slow"),
    [
        ("import recorded.run", DEFERRED + MESH_PACKAGES),
        (
            f"import estimater; estimater.FoundationPose(estimater.{TRIANGLE}, device='cpu')",
            (*DEFERRED, "scipy.spatial", "scipy.sparse"),
        ),
    ],
)
def test_what_is_slow_to_import_waits_until_it_is_needed(start: str, slow: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", f"import sys; {start}; print(*sys.modules)"]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    early = [name for name in slow if name in process.stdout.split()]
    assert not early, f"imported before they are needed: {early}; import them in the function that needs them"


@pytest.mark.parametrize("command", ["run_demo", "live.__main__", "mesh_creation.__main__"])
def test_help_does_not_wait_for_what_computes(command: str) -> None:
    code = f"import sys\nfrom {command} import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    usage, _, modules = process.stdout.rstrip().rpartition("\n")
    assert "usage: " in usage
    assert not {"torch", "numpy", "scipy", "numba", "cv2", "PIL", "trimesh"} & set(modules.split())


@pytest.mark.parametrize("command", ["run_demo.py", "-m live --source .", "-m mesh_creation simulate"])
def test_ctrl_c_during_imports_is_no_traceback(command: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    process = subprocess.run(
        [sys.executable, *command.split()], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 130
    assert process.stderr.splitlines() in (["interrupted"], ["simulate: interrupted"])


def test_files_are_short_and_shallow_and_named_for_what_they_do() -> None:
    for path in source_files():
        lines = (REPOSITORY / path).read_text(encoding="utf-8").count("\n")
        assert lines <= MAXIMUM_LINES, f"{path} has {lines} lines: make it two files"
        assert len(path.parts) <= 4, f"{path} lies deeper than package/room/room/file"
        vague = {"utils", "util", "Utils", "helpers", "common", "misc"} & {path.stem, *path.parts}
        assert not vague, f"{path}: name it for what it does"


def test_public_classes_have_names_of_their_own() -> None:
    places: dict[str, list[str]] = {}
    for path in source_files():
        if not path.match("tests/*"):
            for node in tree_of(path).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(str(path))
    shared = {name: where for name, where in places.items() if len(where) > 1}
    new = {name: where for name, where in shared.items() if name not in SHARED_CLASS_NAMES}
    assert not new, f"rename all but one of each: {new}"
    assert not SHARED_CLASS_NAMES - shared.keys(), f"off the list: {SHARED_CLASS_NAMES - shared.keys()}"


def test_the_layout_on_paper_is_the_one_that_is_there() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    layout = re.search(r"## Layout\n.*?```\w*\n(.*?)```", page, flags=re.DOTALL)
    assert layout, "docs/architecture.md has no code block under the heading Layout"
    names = [line.split()[0] for line in layout.group(1).splitlines() if line.strip() and not line.startswith(" ")]
    packages = {f"{path.parts[0]}/" for path in source_files() if len(path.parts) > 1}
    assert not packages - set(names), f"docs/architecture.md does not name {packages - set(names)}"
    missing = [name for name in names if not (REPOSITORY / name).exists()]
    assert not missing, f"docs/architecture.md names {missing}, which are not there"
