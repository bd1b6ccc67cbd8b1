"""The quick-start commands, with stand-ins for docker, podman and nvidia-smi: what is chosen, why, and how it runs."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.front_door import Door

Install = Callable[..., tuple[str, list[str]]]  # what was said, and what pip was asked to install


def test_no_engine_uses_the_virtual_environment_and_says_why(door: Door) -> None:
    door.install_venv()
    result = door.run("mug")
    assert result.returncode == 0, result.stderr
    assert "mode: local virtual environment (no docker; no podman)" in result.stderr
    assert door.demo_arguments("python") == ["--test_scene_dir", "test_data/mug"]


def test_engine_without_a_running_daemon_falls_back_with_its_reason(door: Door) -> None:
    door.install_venv()
    door.install_engine("docker", works=False)
    result = door.run("mug")
    assert result.returncode == 0, result.stderr
    assert "local virtual environment" in result.stderr
    assert "docker does not work (Cannot connect to the daemon)" in result.stderr


def test_dead_docker_gives_way_to_a_working_podman(door: Door) -> None:
    door.install_engine("docker", works=False)
    door.install_engine("podman")
    result = door.run("mug")
    assert "mode: podman container on cpu (podman is installed and works; no NVIDIA GPU found" in result.stderr
    assert "pose6d-runtime:cpu" in door.recorded("podman.run")  # pose6d:cpu is the whole program, of docs/install.md


@pytest.mark.parametrize(
    ("runtimes", "device", "reason"),
    [
        ("Runtimes: nvidia runc", "GPU", "docker's NVIDIA runtime found"),
        ("Runtimes: runc", "cpu", "install the NVIDIA Container Toolkit"),
    ],
)
def test_docker_uses_the_gpu_only_with_an_nvidia_runtime(door: Door, runtimes: str, device: str, reason: str) -> None:
    door.install_engine("docker", info=runtimes)
    door.install("nvidia-smi", "echo GPU 0")
    result = door.run("mug")
    assert f"mode: docker container on {device}" in result.stderr
    assert reason in result.stderr
    run = door.recorded("docker.run")
    assert ("--gpus" in run) == (device == "GPU")
    assert ("pose6d-runtime:cuda" in run) == (device == "GPU")
    assert ("DEVICE=cuda" in door.recorded("docker.build")) == (device == "GPU")


def test_podman_finds_the_gpu_by_its_cdi_description(door: Door, tmp_path: Path) -> None:
    door.install_engine("podman")
    door.install("nvidia-smi", "echo GPU 0")
    (tmp_path / "cdi/etc/cdi").mkdir(parents=True)
    (tmp_path / "cdi/etc/cdi/nvidia.yaml").touch()
    result = door.run("mug", CDI_ROOT=str(tmp_path / "cdi"))
    assert "mode: podman container on GPU" in result.stderr
    assert "nvidia.com/gpu=all" in door.recorded("podman.run")


def test_driver_without_a_gpu_counts_as_no_gpu(door: Door) -> None:
    door.install_engine("docker", info="Runtimes: nvidia runc")
    door.install("nvidia-smi", "echo 'No devices were found' >&2; exit 6")
    assert "on cpu" in door.run("mug").stderr


def test_engine_override_is_obeyed(door: Door) -> None:
    door.install_venv()
    door.install_engine("docker")
    door.install_engine("podman")
    assert "mode: podman" in door.run("mug", ENGINE="podman").stderr
    assert "virtual environment (ENGINE=none asks for it)" in door.run("mug", ENGINE="none").stderr
    assert not (door.records / "docker.run").exists()


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("podman", "there is no podman on PATH"),
        ("docker", "it does not work: Cannot connect to the daemon"),
        ("singularity", "use auto, docker, podman or none"),
    ],
)
def test_engine_asked_for_and_unusable_is_an_error(door: Door, engine: str, message: str) -> None:
    door.install_engine("docker", works=False)
    result = door.run("mug", ENGINE=engine)
    assert result.returncode == 2
    assert message in result.stderr


def test_failed_image_build_falls_back_only_when_the_choice_was_ours(door: Door) -> None:
    door.install_venv()
    door.install("docker", 'case $1 in build) echo "cannot pull" >&2; exit 1 ;; esac')
    result = door.run("mug")
    assert result.returncode == 0, result.stderr
    assert "local virtual environment (the image could not be built with docker" in result.stderr
    assert door.run("mug", ENGINE="docker").returncode == 2


@pytest.mark.parametrize("mode", ["docker.run", "python"])
def test_arguments_arrive_as_they_were_written(door: Door, mode: str) -> None:
    door.install_venv()
    door.install_engine("docker", works=mode == "docker.run")
    arguments = ["--debug_dir", "my results/$HOME", "--mesh_file", 'it\'s "one".obj', "--frames", "", "--compare"]
    result = door.run("mug", *arguments)
    assert result.returncode == 0, result.stderr
    assert door.demo_arguments(mode) == ["--test_scene_dir", "test_data/mug", *arguments]


def test_container_sees_only_the_checkout_as_the_calling_user(door: Door) -> None:
    door.install_engine("docker")
    door.run("mug")
    run = door.recorded("docker.run")
    mounts = [value for flag, value in pairwise(run) if flag in ("--mount", "--volume", "-v")]
    assert mounts == [f"type=bind,source={door.root},target={door.root}"]
    assert run[run.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert "--privileged" not in run
    assert "--tty" not in run  # standard input is no terminal here
    writable = [value for value in run if value.startswith(("HOME=", "NUMBA_CACHE_DIR="))]
    assert len(writable) == 2
    assert all(f"={door.root}/.cache/" in value for value in writable)


def test_terminal_is_passed_on_where_there_is_one(door: Door) -> None:
    door.install_engine("docker")
    terminal, end = pty.openpty()
    try:
        subprocess.run(
            [str(door.root / "run_container.sh"), "mug"],
            env={"PATH": str(door.bin), "RECORDS": str(door.records)},
            stdin=end,
            stdout=end,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )
    finally:
        os.close(end)
        os.close(terminal)
    assert "--tty" in door.recorded("docker.run")


def test_scene_outside_the_checkout_is_mounted_read_only(door: Door, tmp_path: Path) -> None:
    scene = tmp_path / "my scenes" / "drill"
    scene.mkdir(parents=True)
    door.install_engine("docker")
    result = door.run(str(scene), "--mesh_file", f"{scene}/mesh/drill.obj")
    assert result.returncode == 0, result.stderr
    assert f"type=bind,source={scene},target={scene},readonly" in door.recorded("docker.run")
    assert door.demo_arguments("docker.run")[:2] == ["--test_scene_dir", str(scene)]


def test_live_frames_bring_the_cameras_and_the_network(door: Door, tmp_path: Path) -> None:
    door.install_engine("docker")
    assert door.run("--source", "realsense", "--viewer").returncode == 0
    assert door.demo_arguments("docker.run") == ["--source", "realsense", "--viewer"]
    flags = door.recorded("docker.run")
    assert flags[flags.index("--network") + 1] == "host"
    assert ("/dev/bus/usb" in flags) == Path("/dev/bus/usb").exists()
    bag = tmp_path / "old.bag"
    bag.touch()
    door.run("--source", str(bag))
    assert door.demo_arguments("docker.run") == ["--source", str(bag)]
    assert f"type=bind,source={bag},target={bag},readonly" in door.recorded("docker.run")
    door.run("mug")
    assert "--network" not in door.recorded("docker.run")
    assert "wants to know where frames come from" in door.run("--source").stderr


def test_make_live_names_the_source_and_installs_what_it_needs(door: Door, make: str) -> None:
    door.install_venv()
    result = door.call(make, "live", "SOURCE=mug", "ARGS=--mask auto", ENGINE="none")
    assert result.returncode == 0, result.stderr
    assert door.recorded("python") == ["run_demo.py", "--source", "test_data/mug", "--mask", "auto"]
    assert "venv-live" in door.recorded("make.--no-print-directory")


@pytest.mark.parametrize("argument", ["/elsewhere/results", "../results", "--debug_dir=/elsewhere/results"])
def test_other_paths_outside_the_checkout_are_refused_before_results_are_lost(door: Door, argument: str) -> None:
    door.install_engine("docker")
    result = door.run("mug", argument)
    assert result.returncode == 2
    assert "lies outside the checkout" in result.stderr
    assert not (door.records / "docker.run").exists()


def test_exit_code_of_the_demo_is_the_exit_code_of_the_door(door: Door) -> None:
    door.install("docker", "case $1 in run) exit 7 ;; esac")
    assert door.run("mug").returncode == 7


def test_who_stops_the_door_stops_the_container(door: Door) -> None:
    """A service manager knows the door's process alone: the engine has taken its place."""
    door.install("docker", 'case $1 in run) echo "engine $$" ;; esac')
    script = 'echo "started $$"; exec "$0"/run_container.sh mug'
    lines = door.call("bash", "-c", script, str(door.root)).stdout.splitlines()
    started, engine = (next(x.split()[1] for x in lines if x.startswith(word)) for word in ("started", "engine"))
    assert engine == started


def test_option_in_place_of_the_scene_is_an_error(door: Door) -> None:
    door.install_engine("docker")
    result = door.run("--compare")
    assert result.returncode == 2
    assert "the first argument is the scene" in result.stderr


def test_clean_removes_only_images_that_exist(door: Door) -> None:
    door.install("docker", 'case "$1 $2 $3" in "image inspect pose6d-runtime:cuda") exit 1 ;; esac')
    result = door.run("--clean")
    assert result.returncode == 0, result.stderr
    assert "removed pose6d-runtime:cpu" in result.stderr
    assert "pose6d-runtime:cuda" not in result.stderr


def test_make_leap_run_hands_scene_and_arguments_through(door: Door, make: str) -> None:
    door.install_engine("docker")
    result = door.call(make, "leap-run", "TEST_SCENE_DIR=mug", "ARGS=--debug_dir 'my results' --compare")
    assert result.returncode == 0, result.stderr
    wanted = ["--test_scene_dir", "test_data/mug", "--debug_dir", "my results", "--compare"]
    assert door.demo_arguments("docker.run") == wanted


def test_help_is_the_default_goal_and_names_every_public_target(door: Door, make: str) -> None:
    result = door.call(make)
    assert result.returncode == 0, result.stderr
    assert result.stdout == door.call(make, "help").stdout
    targets = ["leap-run", "run", "build", "system-libraries", "venv", "test", "lint", "format", "scene", "bench"]
    for target in [*targets, "clean-container"]:
        assert f"\n  {target} " in result.stdout
    assert "avocado_translate_1" in result.stdout


@pytest.fixture
def install(door: Door, make: str) -> Install:
    """Run `make venv` with an interpreter that only writes down how it is called."""
    (door.root / "pyproject.toml").touch()
    door.install(
        "python3",
        f"""echo "$*" >> "$RECORDS/calls"
        case "$1 $2" in "-m venv") mkdir -p "$3/bin"; cp {door.bin}/python3 "$3/bin/python" ;; esac
        case "$*" in *+cpu*) exit "$CPU_BUILD" ;; esac""",
    )

    def run(*arguments: str, cpu_build: int = 0) -> tuple[str, list[str]]:
        (door.records / "calls").write_text("")
        result = door.call(make, "venv", *arguments, CPU_BUILD=str(cpu_build))
        assert result.returncode == 0, result.stderr
        calls = [call.removeprefix("-m pip install ") for call in door.recorded("calls") if "pip install" in call]
        return result.stdout + result.stderr, calls

    return run


def test_cpu_build_of_torch_is_tried_first_without_a_gpu(install: Install) -> None:
    said, calls = install()
    assert calls == ["torch==2.13.0+cpu", "--editable ."]
    assert "no NVIDIA GPU found" in said


def test_default_torch_follows_with_a_warning_where_pip_has_no_cpu_build(install: Install) -> None:
    said, calls = install(cpu_build=1)
    assert calls == ["torch==2.13.0+cpu", "torch==2.13.0", "--editable ."]
    assert "PIP_EXTRA_INDEX_URL" in said


def test_gpu_takes_the_default_torch_and_the_gpu_extra(door: Door, install: Install) -> None:
    door.install("nvidia-smi", "echo GPU 0")
    assert install()[1] == ["torch==2.13.0", "--editable .[gpu]"]


@pytest.mark.parametrize("spec", ["torch==2.9.0+cu126", "torch>=2.6,<3"])
def test_torch_that_the_user_names_is_the_one_that_is_installed(spec: str, install: Install) -> None:
    assert install(f"TORCH_SPEC={spec}")[1][0] == spec


def test_virtual_environment_is_made_once_and_updated_when_the_project_changes(door: Door, install: Install) -> None:
    assert len(install()[1]) == 2
    assert install()[1] == []
    later = (door.root / ".venv/.installed-run").stat().st_mtime + 10
    os.utime(door.root / "pyproject.toml", (later, later))
    assert install()[1] == ["--editable ."]
