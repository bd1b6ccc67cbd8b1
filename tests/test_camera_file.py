"""Intrinsics in the spellings that people have them in."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose6d.errors import SceneError
from pose6d.scenes.camera_file import CameraFile, find_camera_file, read_camera

K = np.array([[600.0, 0, 320], [0, 610, 240], [0, 0, 1]])
ROWS, FLAT = K.tolist(), K.ravel().tolist()
NAMED = {"fx": 600, "fy": 610, "cx": 320, "cy": 240}
REALSENSE = {"fx": 600, "fy": 610, "ppx": 320, "ppy": 240, "width": 640, "height": 480}
CAMERA_INFO = """header:
  stamp: {secs: 1, nsecs: 2}
  frame_id: "camera"
height: 480
width: 640
distortion_model: "plumb_bob"
D: [0.1, -0.2, 0.001, 0.002, 0.0]
K: [600.0, 0.0, 320.0, 0.0, 610.0, 240.0, 0.0, 0.0, 1.0]
P: [590.0, 0.0, 321.0, 0.0, 0.0, 600.0, 241.0, 0.0, 0.0, 0.0, 1.0, 0.0]
roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}
---
header:
"""
KALIBR = """cam0:
  camera_model: pinhole
  distortion_coeffs: [0.1, -0.2, 0.001, 0.002]
  distortion_model: radtan
  intrinsics: [600, 610, 320, 240]
  resolution: [640, 480]
"""
NAMED_IN_OPENCV = """%YAML:1.0
---
model_type: PINHOLE
image_width: 640
image_height: 480
distortion_parameters:
   k1: 0.1
   k2: -0.2
   p1: 0.001
   p2: 0.002
projection_parameters:
   fx: 600
   fy: 610
   cx: 320
   cy: 240
"""
CALIBRATION = """image_width: 640
image_height: 480
camera_matrix:
  rows: 3
  cols: 3
  data: [600, 0, 320, 0, 610, 240, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0]}
"""
COEFFICIENTS = (0.1, -0.2, 0.001, 0.002, 0.0)


def read(tmp_path: Path, text: str, encoding: str = "utf-8") -> CameraFile:
    (tmp_path / "cam_K.txt").write_bytes(text.encode(encoding))
    return read_camera(tmp_path / "cam_K.txt")


NUMBERS = {
    "plain": "600 0 320\n0 610 240\n0 0 1\n",
    "one row": "600 0 320 0 610 240 0 0 1",
    "brackets": "[[600., 0, 320],\n [0, 610, 240],\n [0, 0, 1]]",
    "numpy's print": "[[600.   0. 320.]\n [  0. 610. 240.]\n [  0.   0.   1.]]",
    "commas": "600,0,320\n0,610,240\n0,0,1\n",
    "decimal commas": "600,0 0,0 320,0\n0,0 610,0 240,0\n0,0 0,0 1,0\n",
    "semicolons": "600;0;320\n0;610;240\n0;0;1\n",
    "comments": "# of the left camera\n600 0 320 // fx\n0 610 240\n0 0 1 % end",
    "MATLAB": "K = [600 0 320; 0 610 240; 0 0 1];",
    "numpy": "K = np.array([[600, 0, 320], [0, 610, 240], [0, 0, 1]], dtype=np.float64)",
    "print of numpy": "array([[600.,   0., 320.],\n       [  0., 610., 240.],\n       [  0.,   0.,   1.]])",
    "torch": "tensor([[600, 0, 320], [0, 610, 240], [0, 0, 1]], device='cuda:0', dtype=torch.float64)",
    "four": "600 610 320 240",
    "3x4": "600 0 320 0\n0 610 240 0\n0 0 1 0",
    "4x4": "600 0 320 0\n0 610 240 0\n0 0 1 0\n0 0 0 1",
    "columns": "600 0 0 0 610 0 320 240 1",
}
NAMES = {
    "K": {"K": ROWS},
    "matrix": {"camera_matrix": ROWS},
    "flat": {"cameraMatrix": FLAT},
    "fx": NAMED,
    "nested": {"camera": {"intrinsics": NAMED}},
    "intrinsics": {"intrinsics": NAMED, "width": 640},
    "four": {"intrinsics": [600, 610, 320, 240]},
    "RealSense": REALSENSE,
    "color": {"depth": {**NAMED, "fx": 1}, "color": REALSENSE},
    "BOP": {"0": {"cam_K": FLAT, "depth_scale": 0.1}, "1": {"cam_K": FLAT, "depth_scale": 0.1}},
    "Open3D": {"width": 640, "height": 480, "intrinsic_matrix": K.T.ravel().tolist()},
    "NeRF": {"fl_x": 600, "fl_y": 610, "cx": 320, "cy": 240, "w": 640, "h": 480, "frames": []},
}
YAML = {
    "camera_info": CAMERA_INFO,
    "camera_info of ROS 2": CAMERA_INFO.replace("K:", "k:").replace("D:", "d:").replace("P:", "p:"),
    "calibration": CALIBRATION,
    "calibration by Kalibr": KALIBR,
    "calibration by names in OpenCV's storage": NAMED_IN_OPENCV,
    "names": "fx: 600\nfy: 610\ncx: 320\ncy: 240\n",
    "assignments": "[camera]\nfx = 600\nfy=610\ncx = 320\ncy = 240\n",
    "sections": "serial = 1\n[LEFT]\nfx=600\nfy=610\ncx=320\ncy=240\n[STEREO]\nbaseline=120\n",
    "pairs": "fx 600\nfy 610\ncx 320\ncy 240\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(tmp_path: Path, name: str, encoding: str) -> None:
    camera = read(tmp_path, NUMBERS[name], encoding)
    np.testing.assert_array_equal(camera.K, K)
    assert (camera.size, camera.depth_scale, camera.lens) == (None, None, None)


@pytest.mark.parametrize("name", NAMES)
def test_json(tmp_path: Path, name: str) -> None:
    camera = read(tmp_path, json.dumps(NAMES[name]))
    np.testing.assert_array_equal(camera.K, K)
    assert camera.size in (None, (480, 640)) and camera.lens is None
    assert camera.depth_scale == (pytest.approx(1e-4) if name == "BOP" else None)


@pytest.mark.parametrize("name", YAML)
def test_yaml(tmp_path: Path, name: str) -> None:
    camera = read(tmp_path, YAML[name])
    np.testing.assert_array_equal(camera.K, K)
    assert camera.size in (None, (480, 640))
    if name.startswith("ca"):
        assert camera.size == (480, 640)
        coefficients = () if camera.lens is None else camera.lens.coefficients
        assert coefficients + (0,) * (5 - len(coefficients)) == COEFFICIENTS


@pytest.mark.parametrize("suffix", [".yml", ".xml", ".json"])
def test_opencv_file_storage(tmp_path: Path, suffix: str) -> None:
    storage = cv2.FileStorage(str(tmp_path / f"made{suffix}"), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", K)
    storage.write("distortion_coefficients", np.array([COEFFICIENTS]))
    storage.release()
    (tmp_path / f"made{suffix}").rename(tmp_path / f"cam_K{suffix}")
    camera = read_camera(find_camera_file(tmp_path))
    np.testing.assert_array_equal(camera.K, K)
    assert camera.size == (480, 640)
    assert camera.lens is not None and camera.lens.coefficients == COEFFICIENTS


def test_opencv_file_storage_with_a_matrix_of_unknown_size(tmp_path: Path) -> None:
    text = f"%YAML:1.0\n---\nK: !!opencv-matrix\n   rows: 3\n   dt: d\n   data: {FLAT}\n"
    np.testing.assert_array_equal(read(tmp_path, text).K, K)


def test_a_region_of_interest_moves_the_principal_point(tmp_path: Path) -> None:
    roi = "roi: {x_offset: 100, y_offset: 50, height: 200, width: 300}"
    text = "\n".join(roi if line.startswith("roi") else line for line in CAMERA_INFO.splitlines())
    camera = read(tmp_path, text)
    np.testing.assert_array_equal(camera.K[:, 2], [220, 190, 1])
    assert camera.size == (200, 300)
    half = read(tmp_path, "binning_x: 2\nbinning_y: 2\n" + CAMERA_INFO)
    np.testing.assert_array_equal(half.K, [[300, 0, 160], [0, 305, 120], [0, 0, 1]])
    assert half.size == (240, 320)


def test_lens_coefficients_under_names_of_their_own(tmp_path: Path) -> None:
    lens = read(tmp_path, json.dumps({**NAMED, "k1": 0.1, "k2": 0.2, "p1": 0.3, "p2": 0.4})).lens
    assert lens is not None and lens.coefficients == (0.1, 0.2, 0.3, 0.4, 0)
    for key in ("distortion", "lens_distortion"):
        lens = read(tmp_path, json.dumps({**NAMED, key: {"k1": 0.1, "k2": 0, "p1": 0, "p2": 0.4}})).lens
        assert lens is not None and lens.coefficients == (0.1, 0, 0, 0.4, 0)
    fisheye = {**NAMED, "camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4}
    lens = read(tmp_path, json.dumps(fisheye)).lens
    assert lens is not None and lens.coefficients == (0.1, 0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no text file of numbers"),
        ("1 2 3 4 5 6", "has 6 numbers, wanted 9"),
        ("1 PINHOLE 640 480 600 610 320 240", "begins with '1 PINHOLE 640 480"),
        ("600 0 320 -30\n0 610 240 0\n0 0 1 0", r"last column of the 3x4 matrix is \[-30.*second camera"),
        ("{", "cannot be read as JSON"),
        ('{"fx": 600, "cx": 320}', "lacks fy, ppy"),
        ('{"name": "D435", "serial": 1}', "lacks intrinsics: it holds name, serial"),
        ('{"fx": "wide", "fy": 1, "cx": 1, "cy": 1}', "no number"),
        (json.dumps({"left": NAMED, "right": {**NAMED, "fx": 1}}), r"several cameras \(left, right\)"),
        (json.dumps({**NAMED, "width": "wide"}), "no number"),
        (json.dumps({**NAMED, "depth_scale": 0}), "depth_scale is 0"),
        (json.dumps({**NAMED, "model": "division", "coeffs": [0.1]}), "'division'"),
        (json.dumps({**NAMED, "model": "ftheta", "coeffs": [0, 1, 0, 0, 0]}), "no ray appears"),
        (json.dumps({**NAMED, "coeffs": ["a"]}), "coefficient of the lens is no number"),
        ("%YAML:1.0\n---\nK: !!opencv-matrix\n   rows: 3\n", "OpenCV's file storage|lacks intrinsics"),
        ("a: [1, [b", "no YAML"),
        ("[ 640x480  p[312 232]  f[618 618]  None [0 0] ]", r"no YAML .*line 1\): it begins with '\[ 640x480.*fx, fy"),
        ("[LEFT]\nfx=1\nfy=1\ncx=1\ncy=1\n[RIGHT]\nfx=2\nfy=2\ncx=2\ncy=2\n", r"several cameras \(left, right\)"),
        (json.dumps({**NAMED, "RadialDistortion": [0.1, 0]}), "names that are not known.*radialdistortion"),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ("a: &a\n  b: *a\n", "nested too deep"),
        ('{"fx": 1' + "0" * 400 + ', "fy": 1, "cx": 1, "cy": 1}', "no number"),
        (json.dumps({**NAMED, "width": float("inf"), "height": 1}), "no number"),
        (
            "%YAML:1.0\n---\nK: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: [ 600., 0",
            "OpenCV's file storage",
        ),
    ],
)
def test_what_is_not_understood_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SceneError, match=rf"cam_K\.txt.*(?s:{says})"):
        read(tmp_path, text)


def test_what_only_sounds_like_distortion_is_none(tmp_path: Path) -> None:
    more = {
        "undistorted": True,
        "distortion_removed": True,
        "resolution": "480p",
        "distance": {"k1": 0.3},
        "distortion_center": [0, 0],
        "RadialDistortion": [0, 0],
    }
    assert read(tmp_path, json.dumps({**NAMED, **more, "width": 0, "height": 0})) == CameraFile(
        tmp_path / "cam_K.txt", pytest.approx(K), form="JSON"
    )


def test_a_file_of_bytes_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "cam_K.txt").write_bytes(b"\xff\xfa\x80\x81")
    with pytest.raises(SceneError, match="no text file"):
        read_camera(tmp_path / "cam_K.txt")
    assert find_camera_file(tmp_path / "none").name == "cam_K.txt"
    with pytest.raises(SceneError, match=r"cam_K\.txt is missing"):
        read_camera(find_camera_file(tmp_path / "none"))
