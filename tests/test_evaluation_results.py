"""The results file: what the strict reader refuses and the checker lists, with the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pose6d.command import BAD_INPUT
from pose6d.errors import ResultsError
from pose6d.evaluation import __main__ as command
from pose6d.evaluation.results_file import HEADER, PoseEstimate, check_results, read_results
from pose6d.geometry.transforms import rigid_transform

R = "1 0 0 0 1 0 0 0 1"
GOOD = f"3,14,5,0.9,{R},10 -20 700,0.5"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    R = Rotation.random(random_state=1).as_matrix().astype(np.float32)
    pose = rigid_transform(R, np.float32([0.01, -0.2, 0.75]))
    estimate = PoseEstimate(3, 14, 5, 0.25, pose, 1.25)
    (read,) = read_results(write(tmp_path / "r.csv", estimate.row()))
    assert (read.key, read.score, read.seconds, read.line) == ((3, 14, 5), 0.25, 1.25, 2)
    np.testing.assert_array_equal(read.object_in_camera.astype(np.float32), pose.astype(np.float32))
    assert read_results(write(tmp_path / "none.csv")) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "1 columns, wanted 7"),
        (GOOD + ",1", "8 columns, wanted 7"),
        (GOOD.replace("3,14", "3.0,14"), "scene_id is '3.0', wanted a whole number"),
        (GOOD.replace("3,14", "3,-1"), "im_id is '-1', wanted a whole number"),
        (GOOD.replace("0.9", "nan"), "score holds nan"),
        (GOOD.replace("10 -20", "10 nan"), "t holds nan, wanted finite"),
        (GOOD.replace("10 -20", "10 inf"), "t holds inf"),
        (GOOD.replace("1 0 0 0 1", "nan 0 0 0 1"), "R holds nan"),
        (GOOD.replace("1 0 0 0 1", "one 0 0 0 1"), "R is 'one 0 0 0 1 0 0 0 1', wanted 9"),
        (GOOD.replace(" 0 0 1,", " 0 1,"), "R has 8 number"),
        (GOOD.replace("10 -20 700", "10 700"), "t has 2 number"),
        (GOOD.replace("1 0 0 0 1", "1 0.1 0 0 1"), r"R is no rotation: R\^T R differs from the identity by 0.1"),
        (GOOD.replace("1 0 0 0 1", "0 0 0 0 0"), "R is no rotation"),
        (GOOD.replace("1 0 0 0 1", "-1 0 0 0 1"), "R is no rotation but a reflection"),
        (GOOD.replace("10 -20 700", "0.01 -0.02 0.7"), "is it in metres. wanted millimetres"),
        (GOOD.replace("10 -20 700", "10000 -20000 700000"), "is it in micrometres"),
        (GOOD.replace("10 -20 700", "10 -20 -700"), "behind the camera"),
        (GOOD.replace(",0.5", ",-0.5"), "time is -0.5"),
        (GOOD.replace("5,0.9", "6,0.9").replace(",0.5", ",0.7"), "time is 0.7 but 0.5 in line 2 of the same image"),
        (GOOD.replace("10 -20", "11 -20"), "duplicate target: scene 3, image 14, object 5 is already in line 2"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "r.csv", GOOD, GOOD.replace("3,14", "3,15"), line, GOOD.replace("3,14", "3,16"))
    with pytest.raises(ResultsError, match=rf"r\.csv, line 4: .*({message})"):
        read_results(path)
    assert [problem.line for problem in check_results(path)] == [4]


@pytest.mark.parametrize("header", ["", "scene_id,im_id,obj_id,score,R,t", GOOD, HEADER.replace(",", ";")])
def test_a_wrong_header_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "r.csv").write_text(header + "\n" + GOOD + "\n")
    with pytest.raises(ResultsError, match=r"line 1: the header is .* wanted 'scene_id,im_id,obj_id,score,R,t,time'"):
        read_results(tmp_path / "r.csv")


def test_a_torn_last_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(f"{HEADER}\n{GOOD}\n{GOOD[:30]}")
    assert [problem.line for problem in check_results(tmp_path / "r.csv")] == [3, 3]
    (tmp_path / "r.csv").write_text(f"{HEADER}\n{GOOD}")
    with pytest.raises(ResultsError, match="line 2: the last line has no end"):
        read_results(tmp_path / "r.csv")


def test_instances_say_how_many_rows_a_target_may_have(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", GOOD, GOOD.replace("10 -20", "11 -20"), GOOD.replace("10 -20", "12 -20"))
    assert len(read_results(path, {(3, 14, 5): 3})) == 3
    assert len(read_results(path, {})) == 3  # nobody asks for them
    with pytest.raises(ResultsError, match=r"line 4: duplicate target.* in line 2, 3, 2 instance"):
        read_results(path, {(3, 14, 5): 2})


def test_the_checker_lists_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    nan, metres = GOOD.replace("3,14", "3,15").replace("0.9", "nan"), GOOD.replace("10 -20 700", "0.01 0 0.7")
    path = write(tmp_path / "r.csv", GOOD, nan, metres, GOOD)
    assert command.main(["check", str(path)]) == command.PROBLEMS
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0].split(", ")[-1] for line in lines[:3]] == ["line 3", "line 4", "line 5"]
    assert lines[-1] == "3 problem(s)"
    with pytest.raises(ResultsError, match=r"line 3: score holds nan.*and 2 more problems"):
        read_results(path)
    assert command.main(["check", str(write(tmp_path / "good.csv", GOOD))]) == command.OK
    assert command.main(["check", str(tmp_path / "absent.csv")]) == BAD_INPUT
    assert "absent.csv cannot be read" in capsys.readouterr().err
