"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # each process its share of the cores, before anything counts them
    share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(share))

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # tests import ONNX Runtime by themselves, too

import pytest
import torch

from tests.demo_recording import write_recording
from tests.front_door import Door, find_make, make_door

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `cuda` are skipped where there is no GPU."""
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("PyTorch sees no CUDA GPU")


@pytest.fixture(scope="session", autouse=True)
def same_on_every_cpu() -> Iterator[None]:
    """Networks compute in float32 on CPUs with matrix units, too, so that the tests find the same everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def golden(repository: Path) -> Path:
    """The folder of the numbers that are facts."""
    return repository / "tests" / "golden"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder `shared` beside the checkout: real frames and meshes that are not part of the project."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: this test needs the reference data beside the checkout")
    return folder


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device that the code has to work on: the CPU always, CUDA where there is one."""
    return torch.device(request.param)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """A copy of the quick-start commands, with stand-ins for what they call."""
    return make_door(tmp_path)


@pytest.fixture
def make() -> str:
    """The path of make; tests are skipped without it."""
    return find_make()


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of a box; nobody changes it."""
    return write_recording(tmp_path_factory.mktemp("recordings") / "box")


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with ground truth; nobody changes it."""
    from tests.report_runs import write_page  # only these tests need all that a report needs

    return write_page(tmp_path_factory.mktemp("compared"), compare=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium, since browsers that Playwright downloads lack H.264."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("there is no Chromium on the PATH")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=found, args=["--enable-unsafe-swiftshader"])
        yield launched
        launched.close()
