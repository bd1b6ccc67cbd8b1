"""What make asks of the system: shared libraries, an interpreter, and what has to be green."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.front_door import REPOSITORY, Door

RunMake = Callable[..., subprocess.CompletedProcess[str]]

OPENCV = ["libGL.so.1", "libgthread-2.0.so.0"]
OPEN3D = ["libEGL.so.1", "libX11.so.6", "libgomp.so.1", "libusb-1.0.so.0"]


@pytest.fixture
def run_make(door: Door, make: str) -> RunMake:
    """Run a target for a user (0 is root) of a system that lacks the shared libraries in `missing`."""
    (door.root / "pyproject.toml").touch()
    door.install(
        "python3",
        f"""case "$1 $2" in
        "-m venv") mkdir -p "$3/bin"; cp {door.bin}/python3 "$3/bin/python" ;;
        *ctypes*) shift 2; echo "$*" > "$RECORDS/asked"
            for name in $*; do case " $MISSING " in *" $name "*) echo "$name" ;; esac; done ;;
        esac""",
    )

    def run(target: str, *missing: str, user: int = 1000) -> subprocess.CompletedProcess[str]:
        door.install("id", f"echo {user}")
        return door.call(make, target, "SCAN=scan", MISSING=" ".join(missing))

    return run


@pytest.mark.parametrize(
    ("target", "wanted"),
    [("venv", OPENCV), ("test", OPENCV + OPEN3D), ("mesh", OPENCV + OPEN3D), ("system-libraries", OPENCV + OPEN3D)],
)
def test_libraries_of_the_system_are_looked_for_before_anything_is_installed(
    door: Door, run_make: RunMake, target: str, wanted: list[str]
) -> None:
    door.install("apt-get", "")
    assert run_make(target).returncode == 0, "nothing is missing"
    assert door.recorded("asked") == [" ".join(wanted)]
    shutil.rmtree(door.root / ".venv", ignore_errors=True)
    result = run_make(target, "libGL.so.1")
    assert result.returncode == 2
    assert "needs: libGL.so.1\n" in result.stderr
    assert "\n  sudo apt-get update && sudo apt-get install -y libgl1\n" in result.stderr
    assert not (door.root / ".venv").exists()
    assert not (door.records / "apt-get.install").exists()


def test_what_a_target_does_not_load_stops_nothing_and_one_command_brings_all(door: Door, run_make: RunMake) -> None:
    door.install("apt-get", "")
    assert run_make("venv", "libusb-1.0.so.0").returncode == 0
    shutil.rmtree(door.root / ".venv")
    result = run_make("venv", "libusb-1.0.so.0", "libGL.so.1")
    assert "needs: libGL.so.1\n" in result.stderr
    assert "apt-get install -y libgl1 libusb-1.0-0\n" in result.stderr


def test_lint_needs_no_libraries_of_the_system(door: Door, run_make: RunMake) -> None:
    run_make("lint", "libGL.so.1")
    assert not (door.records / "asked").exists()


def test_root_of_a_debian_gets_the_libraries_installed(door: Door, run_make: RunMake) -> None:
    door.install("apt-get", "")
    result = run_make("test", *OPEN3D, user=0)
    assert result.returncode == 0, result.stderr
    packages = ["libegl1", "libx11-6", "libgomp1", "libusb-1.0-0"]
    assert door.recorded("apt-get.install") == ["install", "-y", "--no-install-recommends", *packages]


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("dnf", "sudo dnf install 'libGL.so.1()(64bit)' 'libgthread-2.0.so.0()(64bit)'"),
        ("zypper", "sudo zypper install 'libGL.so.1()(64bit)' 'libgthread-2.0.so.0()(64bit)'"),
        ("pacman", "sudo pacman -S --needed libglvnd glib2"),
    ],
)
def test_other_systems_get_a_command_of_their_own(door: Door, run_make: RunMake, manager: str, command: str) -> None:
    door.install(manager, "")
    result = run_make("venv", *OPENCV)
    assert result.returncode == 2
    assert f"\n  {command}" in result.stderr


def test_macos_needs_no_libraries(door: Door, run_make: RunMake) -> None:
    door.install("uname", "echo Darwin")
    assert run_make("test", "libGL.so.1").returncode == 0


def test_first_interpreter_that_can_make_an_environment_is_taken(door: Door, make: str) -> None:
    door.install("python3", "exit 1")
    door.install("python3.11", "")
    assert "its place (python3.11, .venv)" in door.call(make, "help").stdout
    assert "its place (python3, .venv)" in door.call(make, "help", PYTHON="python3").stdout
    result = door.call(make, "venv", "PYTHON=python3")
    assert result.returncode == 2
    assert "PYTHON=python3 is missing or older than Python 3.10" in result.stderr


def test_what_has_to_be_green_is_lint_and_tests(door: Door) -> None:
    (door.root / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci/run", door.root / ".ci/run")
    for failing, ran in (("nothing", ["lint", "test"]), ("lint", ["lint"]), ("test", ["lint", "test"])):
        door.install("make", f'echo "$*" >> "$RECORDS/targets"; test "$*" != {failing}')
        (door.records / "targets").unlink(missing_ok=True)
        result = door.call(str(door.root / ".ci/run"))
        assert (result.returncode == 0) == (failing == "nothing")
        assert door.recorded("targets") == ran
