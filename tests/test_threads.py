"""How threads wait is settled before PyTorch is loaded, wherever that happens first, and never over the user's word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
SHOW = f"""
import importlib, os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(*(os.environ.get(variable, "unset") for variable in {VARIABLES}), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
importlib.import_module(sys.argv[1])
print("PyTorch was not loaded")
"""


def when_torch_loads(module: str, repository: Path, **environment: str) -> list[str]:
    """The variables' values at the moment when a fresh process that imports a module begins to load PyTorch."""
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    result = subprocess.run(
        [sys.executable, "-c", SHOW, module], cwd=repository, env=clean | environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize(
    "module",
    [
        "run_demo",
        "estimater",
        "many_objects",
        "pose6d.rendering",
        "pose6d.evaluation.__main__",
        "learning.training.train_refiner",
        "mesh_creation.simulator",
        "quantization.__main__",
        "test_data.make_avocado_scene",
        "benchmarks.speed.__main__",
    ],
)
def test_waiting_threads_do_not_spin_for_long(module: str, repository: Path) -> None:
    spins, policy = when_torch_loads(module, repository)
    assert policy == "unset"
    assert 0 < int(spins) <= 2000  # GNU's default is 300,000


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [("GOMP_SPINCOUNT", "7", ["7", "unset"]), ("OMP_WAIT_POLICY", "ACTIVE", ["unset", "ACTIVE"])],
)
def test_the_users_own_setting_stays(name: str, value: str, wanted: list[str], repository: Path) -> None:
    assert when_torch_loads("estimater", repository, **{name: value}) == wanted
