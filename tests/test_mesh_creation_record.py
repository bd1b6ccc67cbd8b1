"""Recording and importing: against the real SDK's playback, and against a camera that is made up here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mesh_creation.board.layout import Board, default_board, load_board, save_board
from mesh_creation.recording.coverage import AZIMUTHS, Coverage
from mesh_creation.recording.record import RecordOptions, main, record, warm_up
from pose6d.errors import DeviceError, OutputError, SceneError
from pose6d.scenes import open_scene
from pose6d.scenes.frame import Frame
from tests import realsense_recordings as made
from tests.mesh_creation_scans import CHARUCO, draw_board

OLD_BAG = Path(__file__).parent / "recordings" / "realsense_2_55.bag"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.new_recording(tmp_path_factory.mktemp("recordings"))


def test_a_db3_recording_is_imported_whole(recording: Path, tmp_path: Path) -> None:
    save_board(CHARUCO, tmp_path / "mine.json")
    scan = main(RecordOptions(tmp_path / "scan", source=recording, board=tmp_path / "mine.json", keep_fps=0))
    frames = list(open_scene(scan))
    red = [int(np.median(frame.rgb[..., 0])) for frame in frames]
    assert red == pytest.approx([20 * index for index in range(10) if index != 3], abs=3)  # JPEG
    facts = json.loads((scan / "recording.json").read_text())
    assert facts["kind"] == "import" and "software camera" in facts["source"]
    assert [int(name) for name in facts["names"]] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    np.testing.assert_allclose(facts["timestamps"], np.delete(np.arange(10) / 30, 3), atol=1e-4)
    assert load_board(scan / "board.json") == CHARUCO


def test_depth_is_aligned_and_in_true_metres(recording: Path, tmp_path: Path) -> None:
    scan = main(RecordOptions(tmp_path / "scan", source=recording, keep_fps=0))
    assert json.loads((scan / "intrinsics.json").read_text())["depth_scale"] == made.DEPTH_SCALE
    frame = open_scene(scan)[0]
    assert set(np.unique(frame.depth)) == {0, np.float32(made.NEAR), np.float32(made.FAR)}
    near = np.argwhere(frame.depth == np.float32(made.NEAR))
    # The colour camera lies beside the depth camera: the square moves by 90 * 0.02 / 0.5 = 3.6 pixels.
    assert near[:, 1].min() == pytest.approx(30 + 3.6, abs=1) and near[:, 1].max() == pytest.approx(59 + 3.6, abs=1)
    assert (near[:, 0].min(), near[:, 0].max()) == (20, 49)


def test_a_bag_of_an_older_sdk_is_imported(recording: Path, tmp_path: Path) -> None:
    scan = main(RecordOptions(tmp_path / "scan", source=OLD_BAG, keep_fps=0))
    facts = json.loads((scan / "recording.json").read_text())
    assert {int(name) for name in facts["names"]} >= {
        2,
        3,
        5,
        6,
        7,
        8,
        9,
        10,
    }  # SDK 2.59 loses the first pair of old files
    frame = open_scene(scan)[-1]
    assert frame.rgb[0, 0] == pytest.approx([180, 50, 200], abs=3)
    assert frame.depth.max() == np.float32(made.FAR)


def test_an_import_is_thinned_by_the_cameras_clock(recording: Path, tmp_path: Path) -> None:
    scan = main(RecordOptions(tmp_path / "scan", source=recording, keep_fps=10))
    assert json.loads((scan / "recording.json").read_text())["names"] == ["1", "5", "7", "10"]


@pytest.mark.parametrize("distorted", [False, True])
def test_lens_distortion_is_removed(distorted: bool, recording: Path, tmp_path: Path) -> None:
    """A dot that the lens moved outwards by 1 + k r^2 is where a pinhole camera would show it."""
    made.make_recording(tmp_path / "bent.db3", distorted=distorted)
    scan = main(RecordOptions(tmp_path / "scan", source=tmp_path / "bent.db3", keep_fps=0))
    green = open_scene(scan)[0].rgb[..., 1] > 150
    dot = np.argwhere(green).mean(axis=0)[::-1]
    seen = (np.array(made.DOT) - [47.5, 35.5]) / 90
    straight = seen
    for _ in range(20 if distorted else 0):
        straight = seen / (1 + made.BARREL * (straight @ straight))
    np.testing.assert_allclose(dot, straight * 90 + [47.5, 35.5], atol=0.6)
    assert np.linalg.norm(dot - made.DOT) > 1.5 or not distorted


@pytest.mark.parametrize("streams", [("color",), ("depth",)])
def test_a_recording_of_one_stream_is_refused(streams: tuple[str, ...], recording: Path, tmp_path: Path) -> None:
    made.make_recording(tmp_path / "half.db3", streams=streams)
    with pytest.raises(SceneError, match=r"holds no (colour|depth) stream"):
        main(RecordOptions(tmp_path / "scan", source=tmp_path / "half.db3"))


def test_files_that_are_no_recordings_are_refused(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.bag").write_bytes(OLD_BAG.read_bytes()[:9000])
    (tmp_path / "film.mp4").write_bytes(b"film")
    for name, message in (
        ("none.bag", "does not exist"),
        ("film.mp4", "wanted"),
        ("cut.bag", "cannot be"),
    ):
        with pytest.raises(SceneError, match=message):
            main(RecordOptions(tmp_path / "scan", source=tmp_path / name))
        assert not (tmp_path / "scan").exists()


def test_no_camera_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    rs = pytest.importorskip("pyrealsense2")
    if len(rs.context().query_devices()):
        pytest.skip("a camera is connected")
    with pytest.raises(DeviceError, match=r"no RealSense camera is connected.*udev"):
        main(RecordOptions(tmp_path / "scan"))
    assert not list(tmp_path.iterdir())


def test_a_missing_sdk_names_the_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyrealsense2'] = None\nfrom mesh_creation.__main__ import main\n"
    code += f"sys.exit(main(['record', '--out', {str(tmp_path / 'scan')!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: " in done.stderr and "pose6d[realsense]" in done.stderr and "Traceback" not in done.stderr


class MadeUpCamera:
    """Thirty frames a second; the exposure settles from dark to bright over `settling` frames."""

    name, size, fps, live, depth_unit, notes = "made up", (72, 96), 30.0, True, 0.001, []
    K = np.array([[90.0, 0, 47.5], [0, 90.0, 35.5], [0, 0, 1]])

    def __init__(self, settling: int = 30, interrupt: int = 10_000, frames: int = 400) -> None:
        self.settling, self.interrupt, self.frames = settling, interrupt, frames
        self.delivered = 0

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self.frames):
            if number == self.interrupt:
                raise KeyboardInterrupt
            self.delivered += 1
            light = 150 * (1 - 0.85 ** (number * 30 / self.settling)) if self.settling else 150
            rgb = np.full((72, 96, 3), int(light), np.uint8)
            yield Frame(str(number), rgb, np.full((72, 96), 0.5, np.float32), self.K, seconds=number / 30)


LIVE = {"countdown": 0, "seconds": 2.0}


def test_the_exposure_settles_before_anything_is_kept(tmp_path: Path) -> None:
    assert warm_up(iter(MadeUpCamera(settling=0))) < 20 < warm_up(iter(MadeUpCamera(settling=60))) < 110
    record(MadeUpCamera(settling=40), default_board(), RecordOptions(tmp_path / "scan", **LIVE))
    scene = open_scene(tmp_path / "scan")
    assert len(scene) == 31  # two seconds at 15 frames per second, both ends
    assert min(frame.rgb.mean() for frame in scene) > 145


def test_stopping_by_hand_keeps_everything(tmp_path: Path) -> None:
    record(MadeUpCamera(settling=0, interrupt=40), default_board(), RecordOptions(tmp_path / "scan", **LIVE))
    assert 10 <= len(open_scene(tmp_path / "scan")) <= 14


def test_a_camera_that_is_unplugged_keeps_what_it_sent(tmp_path: Path) -> None:
    class Unplugged(MadeUpCamera):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            raise DeviceError("the camera stopped sending.")

    options = RecordOptions(tmp_path / "scan", countdown=0, seconds=60)
    with pytest.raises(DeviceError, match=r"stopped sending. The 23 frames until then are in"):
        record(Unplugged(settling=0, frames=60), default_board(), options)
    assert len(open_scene(tmp_path / "scan")) == 23


def test_an_import_that_is_stopped_is_none(tmp_path: Path) -> None:
    options = RecordOptions(tmp_path / "scan", source=tmp_path / "long.bag")
    with pytest.raises(KeyboardInterrupt):
        record(MadeUpCamera(interrupt=20), default_board(), options)
    assert not (tmp_path / "scan").exists()


def test_a_camera_that_sends_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="gave no frame"):
        record(MadeUpCamera(frames=0), default_board(), RecordOptions(tmp_path / "scan", **LIVE))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_recording_left_is_completed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Killed(MadeUpCamera):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            raise SystemExit  # which `record` does not handle, as it cannot handle SIGKILL

    scan, partial = tmp_path / "scan", tmp_path / "scan.partial"
    with pytest.raises(SystemExit):
        record(Killed(settling=0, frames=60), default_board(), RecordOptions(scan, countdown=0, seconds=60))
    (partial / "JPEGImages" / "22.jpg").unlink()  # the kill came between the two pictures of the last frame
    assert main(RecordOptions(scan)) == scan
    assert len(open_scene(scan)) == 22 and not partial.exists()
    timestamps = json.loads((scan / "recording.json").read_text())["timestamps"]
    np.testing.assert_allclose(timestamps, np.arange(22) / 15, atol=1e-5)
    assert "22 frames of an interrupted recording" in capsys.readouterr().out


def test_recordings_are_kept_and_other_folders_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = RecordOptions(tmp_path / "scan", **LIVE)
    record(MadeUpCamera(settling=0), default_board(), options)
    assert main(options) == options.out and "kept" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="did not write"):
        main(replace(options, out=tmp_path / "mine", overwrite=True))
    with pytest.raises(SceneError, match="positive duration"):
        main(replace(options, seconds=0))


def camera_at(azimuth: float, elevation: float) -> np.ndarray:
    a, e = np.radians(azimuth), np.radians(elevation)
    pose = np.eye(4)
    pose[:3, 3] = 0.5 * np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    return pose


def test_coverage_counts_directions_and_says_where_to_go() -> None:
    coverage = Coverage()
    assert coverage.share == 0 and "board" in coverage.advice()
    for azimuth in np.arange(0, 360, 360 / AZIMUTHS) + 5:
        coverage.add(camera_at(azimuth, 20))
    assert coverage.share == pytest.approx(1 / 3) and "higher" in coverage.advice()
    for azimuth in np.arange(0, 90, 22.5) + 5:
        coverage.add(camera_at(azimuth, 40))
    assert "right" in coverage.advice()  # counter-clockwise from above: to the right of who looks at the object
    for azimuth in np.arange(0, 360, 360 / AZIMUTHS) + 5:
        coverage.add(camera_at(azimuth, 40))
        coverage.add(camera_at(azimuth, 70))
    coverage.add(camera_at(0, -30))
    assert coverage.share == 1 and coverage.advice() == ""


def test_an_unknown_layout_can_be_recorded(tmp_path: Path) -> None:
    record(MadeUpCamera(settling=0), Board("markers", "DICT_6X6_250"), RecordOptions(tmp_path / "scan", **LIVE))
    assert load_board(tmp_path / "scan" / "board.json").dictionary == "DICT_6X6_250"


class CameraAboveABoard(MadeUpCamera):
    """Looks straight down on the default board from 0.3 m."""

    size = (240, 320)
    K = np.array([[450.0, 0, 159.5], [0, 450.0, 119.5], [0, 0, 1]])

    def __iter__(self) -> Iterator[Frame]:
        picture, to_pixels = draw_board(default_board(), 1500)
        shift = np.array([[1, 0, 159.5 - to_pixels[0, 2]], [0, 1, 119.5 - to_pixels[1, 2]]])
        grey = cv2.warpAffine(picture, shift, (320, 240), borderValue=255)
        for number in range(self.frames):
            rgb, depth = np.repeat(grey[..., None], 3, axis=2), np.full((240, 320), 0.3, np.float32)
            yield Frame(str(number), rgb, depth, self.K, seconds=number / 30)


def test_the_terminal_shows_markers_coverage_and_where_to_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(CameraAboveABoard(), default_board(), RecordOptions(tmp_path / "scan", **LIVE))
    shown = capsys.readouterr()
    last = shown.err.split("\r")[-1]
    assert "30 frames" in last and "go lower" in last and "####" in last.partition("high")[2]
    assert "found in 6 of 6" in shown.out
