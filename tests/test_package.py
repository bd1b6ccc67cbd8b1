"""The installed package, without its checkout: what is in it, and that it works from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PARTS = ("learning", "mesh_creation", "pose6d", "quantization", "recorded", "test_data", "weights")


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel of a copy of the checkout that is gone by now; weights are empty files."""
    checkout, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")

    def stand_in(source: str, target: str) -> None:
        if source.endswith(".safetensors"):
            Path(target).write_bytes(b"")
        else:
            shutil.copyfile(source, target)

    scenes = shutil.ignore_patterns("__pycache__", "avocado_translate_1")
    for name in PARTS:
        shutil.copytree(repository / name, checkout / name, copy_function=stand_in, ignore=scenes)
    for name in ("pyproject.toml", "README.md", "LICENSE", "estimater.py", "many_objects.py", "run_demo.py"):
        shutil.copy(repository / name, checkout)
    (checkout / "weights" / "lite" / "model_quantized_refiner_int8.safetensors").touch()
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(out)], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(checkout)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        wheel.extractall(out / "site")
    return out / "site"


def run(installed: Path, folder: Path, code: str, **environment: str) -> str:
    """What some Python prints in an empty folder, with nothing but the package's files and its dependencies."""
    environment = os.environ | {"PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(folder / "cache")} | environment
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_lite_and_its_scouts_are_in_the_wheel_and_base_is_not(installed: Path) -> None:
    files = {str(path.relative_to(installed)) for path in (installed / "weights").rglob("*") if path.is_file()}
    parts = [f"{kind}.{ending}" for kind in ("refiner", "scorer") for ending in ("json", "safetensors")]
    networks = {f"weights/{name}/{part}" for name in ("lite", "mini") for part in parts}
    assert files == networks | {"weights/manifest.json"}


def test_everything_beside_the_code_is_in_the_wheel(installed: Path, repository: Path) -> None:
    """CUDA sources and the parts of the report's page."""
    kinds = (".cu", ".cuh", ".html", ".css", ".js")
    files = [path.relative_to(repository) for name in PARTS for path in (repository / name).rglob("*")]
    wanted = [path for path in files if path.suffix in kinds]
    assert len(wanted) > 10
    assert not [path for path in wanted if not (installed / path).is_file()]


def test_an_installed_package_finds_lite_and_keeps_scenes_in_the_users_cache(installed: Path, tmp_path: Path) -> None:
    code = "from recorded import run; print(run.find_weights('auto', 'refiner'), run.SCENES, sep='\\n')"
    weights, scenes = run(installed, tmp_path, code).splitlines()
    assert Path(weights) == installed / "weights" / "lite" / "refiner.safetensors"
    assert Path(scenes) == tmp_path / "cache" / "pose6d" / "scenes"
    code = "from test_data.scenes_folder import SCENES; print(SCENES)"
    scenes = run(installed, tmp_path, code, XDG_CACHE_HOME="", HOME=str(tmp_path))
    assert Path(scenes) == tmp_path / ".cache" / "pose6d" / "scenes"


def test_quantising_needs_no_benchmarks_and_says_where_its_report_is(installed: Path, tmp_path: Path) -> None:
    code = """import sys
sys.modules["benchmarks"] = None  # where the checkout is installed too, it would be found
sys.stderr = sys.stdout
from quantization.__main__ import main
assert main(["create", "--variants", "int4"]) == main(["report", "--weights", "lite"]) == 2"""
    created, reported = run(installed, tmp_path, code).splitlines()
    assert created.startswith("error: --variants int4: wanted some of")
    assert reported == "error: the report is now `python -m benchmarks.quantization`, in a checkout's folder"
