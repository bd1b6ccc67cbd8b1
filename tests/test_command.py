"""Every command ends with the same exit codes."""

from __future__ import annotations

import inspect
import re
import runpy
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import run_demo
from live.__main__ import main as live_main
from live.options import LiveOptions
from pose6d.command import BAD_INPUT, run_command
from pose6d.errors import MeshError
from pose6d.evaluation.__main__ import Predict, SyntheticOptions
from pose6d.evaluation.__main__ import main as evaluate
from recorded.options import RecordedOptions

REPOSITORY = Path(__file__).resolve().parent.parent
# Command -> arguments of which one is bad, so that it is noticed before any work; FILE stands for a file.
BAD = {
    "run_demo.py": "--test_scene_dir none",
    "pose6d/evaluation/__main__.py": "check none.csv",
    "mesh_creation/__main__.py": "simulate --mesh none.ply --out out",
    "quantization/__main__.py": "create --weights none",
    "quantization/onnx_quantization/create_refinenet_onnx.py": "--weights none",
    "quantization/onnx_quantization/create_scorenet_onnx.py": "--weights none",
    "learning/datasets/__main__.py": "--show materials --count 1 --out FILE/sheet.png",
    "learning/training/__main__.py": "none",
    "learning/training/train_refiner.py": "--run-folder FILE/run",
    "learning/training/train_scorer.py": "--run-folder FILE/run --refiner none",
    "test_data/__main__.py": "--folder FILE/scene",
    "test_data/make_avocado_scene.py": "--folder FILE/scene",
    "benchmarks/accuracy/__main__.py": "--from-json none.json",
    "benchmarks/accuracy/calibrate.py": "--weights none",
    "benchmarks/speed/__main__.py": "--from-json none.json",
    "benchmarks/schedules.py": "--from-json none.json",
    "benchmarks/reach.py": "--from-json none.json",
    "benchmarks/rivals/__main__.py": "--from-json none.json",
    "benchmarks/automatic_start.py": "--workers 0 --mesh-folder none",
    "benchmarks/rendering.py": "--mesh none.obj",
    "benchmarks/color_depth_offset.py": "--mesh-folder none",
    "benchmarks/live_tracking/__main__.py": "--weights none",
    "benchmarks/model_free/__main__.py": "--output out --mesh-folder none",
    "benchmarks/model_free/markerless.py": "--meshes none.obj",
    "benchmarks/model_free/texture.py": "--mesh-folder none --made none",
    "live/__main__.py": "--source none",
    "pose6d/scenes/__main__.py": "doctor none",
    "benchmarks/quantization/__main__.py": "--weights none",
    "benchmarks/quantization/accuracy.py": "--output out.json --weights none",
    "assets/make_pictures.py": "--run_folder none --test_scene_dir none",
}


def test_a_program_without_standard_output_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    said: list[object] = []
    assert run_command(lambda: said.append(sys.stdout.write("nowhere"))) == 0 and said == [7]


def test_users_see_warnings_without_a_place_in_the_code() -> None:
    def shown(category: type[Warning]) -> str:
        return warnings.formatwarning("the texture is lost", category, "run_demo.py", 169, "mesh = load()")

    said: list[str] = []
    run_command(lambda: said.extend(map(shown, (UserWarning, DeprecationWarning))))
    assert said[0] == "warning: the texture is lost\n"
    assert said[1].startswith("run_demo.py:169: DeprecationWarning")
    assert shown(UserWarning).startswith("run_demo.py:169: UserWarning")


@pytest.mark.parametrize("command", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEST_SCENE_URL", raising=False)
    arguments = BAD[command].replace("FILE", str(tmp_path / "file")).split()
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / command), run_name="__main__")
    error = capsys.readouterr().err
    assert ended.value.code == BAD_INPUT
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert "none" in error or str(tmp_path / "file") in error


def test_every_command_is_tried() -> None:
    inside = {
        "benchmarks/speed/fresh_process.py",
        "benchmarks/rivals/ppf_process.py",
    }  # started by another command alone
    rooms = {Path(command).parts[0] for command in BAD}
    sources = [
        path for room in rooms for path in (REPOSITORY / room, *(REPOSITORY / room).rglob("*.py")) if path.is_file()
    ]
    found = [path for path in sources if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")]
    assert {str(path.relative_to(REPOSITORY)) for path in found} - inside == set(BAD)


@pytest.mark.parametrize(("result", "code"), [(None, 0), (3, 3), (Path("made"), 0)])
def test_the_exit_code_of_a_command_that_ends(result: object, code: int) -> None:
    assert run_command(lambda: result) == code


def test_the_exit_codes_of_errors_and_stops(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: BaseException) -> None:
        raise error

    assert run_command(lambda: fail(MeshError("a.obj is empty: export it again"))) == 2
    assert run_command(lambda: fail(FileNotFoundError(2, "No such file", "a.obj"))) == 2
    assert run_command(lambda: fail(KeyboardInterrupt()), "stopped") == 130
    assert run_command(lambda: signal.raise_signal(signal.SIGTERM), "stopped") == 143
    assert run_command(lambda: signal.raise_signal(signal.SIGHUP), "stopped") == 129
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "error: a.obj is empty: export it again" and said[2:] == ["stopped"] * 3
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("main", "arguments", "options"),
    [
        (run_demo.main, [], RecordedOptions),
        (live_main, [], LiveOptions),
        (evaluate, ["predict"], Predict),
        (evaluate, ["predict"], SyntheticOptions),  # which are part of the others
    ],
)
def test_help_breaks_lines_only_where_they_are_full(
    main: Callable[[list[str]], int],
    arguments: list[str],
    options: type,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit):
        main([*arguments, "--help"])
    said = capsys.readouterr().out
    _, *sentences = re.findall(r'^    """(.*?)"""', inspect.getsource(options), re.DOTALL | re.MULTILINE)
    assert len(sentences) > 3
    for sentence in sentences:
        assert " ".join(sentence.split()) in said
