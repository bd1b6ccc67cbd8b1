"""Streams of frames: replay of recordings, their pace, and the newest frame."""

from __future__ import annotations

import json
import re
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pose6d.errors import DeviceError, FrameError, OptionError, OutputError, SceneError
from pose6d.geometry.depth_alignment import align_depth
from pose6d.scenes import open_scene
from pose6d.scenes.images import write_depth, write_image
from pose6d.scenes.timestamps import frame_seconds, recording_fps
from pose6d.streams import FrameStream, open_stream
from pose6d.streams.capture_writer import CaptureWriter
from pose6d.streams.newest import NewestFrames
from pose6d.streams.real_time import RealTimeStream
from pose6d.streams.recording import RecordingStream
from tests.stream_sources import SIZE, K, MadeUpStream, made_up_frame


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recording of six frames in the folder layout."""
    path = tmp_path / "recording"
    for index in range(6):
        frame = made_up_frame(index)
        write_image(path / "rgb" / f"{index:03d}.png", frame.rgb)
        write_depth(path / "depth" / f"{index:03d}.png", frame.depth)
    np.savetxt(path / "cam_K.txt", K)
    return path


def read_all(stream: FrameStream) -> list[str]:
    """The names of the frames, and the errors of those that cannot be used."""
    names, frames = [], iter(stream)
    while True:
        try:
            names.append(next(frames).name)
        except FrameError as error:
            names.append(str(error))
        except StopIteration:
            return names


def test_a_recording_is_replayed_as_its_reader_reads_it(folder: Path) -> None:
    with open_stream(folder) as stream:
        assert (stream.name, stream.size, stream.fps, stream.live) == ("recording", SIZE, pytest.approx(30), False)
        assert stream.depth_unit == 0.001 and "folder layout" in stream.notes[0]
        frames = list(stream)
    for index, (frame, wanted) in enumerate(zip(frames, open_scene(folder), strict=True)):
        np.testing.assert_array_equal(frame.rgb, wanted.rgb)
        np.testing.assert_array_equal(frame.depth, wanted.depth)
        assert (frame.name, frame.seconds) == (wanted.name, pytest.approx(index / 30))


def test_a_frame_that_cannot_be_read_does_not_end_the_replay(folder: Path) -> None:
    (folder / "rgb" / "002.png").write_bytes((folder / "rgb" / "002.png").read_bytes()[:60])
    names = read_all(open_stream(folder))
    assert names[:2] + names[3:] == ["000", "001", "003", "004", "005"] and "002.png" in names[2]


def test_chosen_frames_keep_their_times(folder: Path) -> None:
    frames = list(RecordingStream(open_scene(folder), fps=10, frames=[1, 3, 5]))
    assert [(frame.name, frame.seconds) for frame in frames] == [("001", 0.1), ("003", 0.3), ("005", 0.5)]


def test_the_rate_of_a_recording(folder: Path) -> None:
    scene = open_scene(folder)
    assert recording_fps(scene) == 30
    (folder / "recording.json").write_text('{"fps": 12}')
    assert recording_fps(scene) == 12
    (folder / "scene.json").write_text('{"fps": 15}')
    assert recording_fps(scene) == 15
    assert recording_fps(scene, 60) == 60
    with pytest.raises(SceneError, match="--fps: fps is 0"):
        recording_fps(scene, 0)
    (folder / "scene.json").write_text('{"fps": "fast"}')
    with pytest.raises(SceneError, match=r"scene\.json: fps is 'fast'"):
        recording_fps(scene)


@pytest.mark.parametrize(
    ("timestamps", "message"),
    [
        ([0, 0.1], r"has 2 timestamps, wanted 6 numbers.*was a frame deleted\?"),
        ([0, 0.1, 0.2, 0.1, 0.3, 0.4], r"the clock jumps back by 0\.100 s at frame 003: correct the timestamps"),
        ([0, 0.1, None, 0.1, 0.3, 0.4], "wanted 6 numbers"),
        ([0, 0.1, "x", 0.1, 0.3, 0.4], "a timestamp is no number"),
    ],
)
def test_timestamps_that_cannot_be_used_are_named(folder: Path, timestamps: list, message: str) -> None:
    (folder / "recording.json").write_text(json.dumps({"timestamps": timestamps}))
    with pytest.raises(SceneError, match=message):
        open_stream(folder)
    assert open_stream(folder, fps=10).fps == pytest.approx(10)


def test_timestamps_are_followed(folder: Path) -> None:
    times = [5, 5.1, 5.3, 5.3, 5.6, 6.0]
    (folder / "recording.json").write_text(json.dumps({"timestamps": times}))
    np.testing.assert_allclose(frame_seconds(open_scene(folder)), np.array(times) - 5)
    assert open_stream(folder).fps == pytest.approx(5)


def test_a_replay_in_real_time_takes_its_time(folder: Path) -> None:
    arrived = []
    with open_stream(folder, real_time=True, fps=20) as stream:
        assert stream.live
        for frame in stream:
            arrived.append((time.monotonic(), frame.seconds))
    early = [(seconds - arrived[0][0]) - taken for seconds, taken in arrived]
    assert min(early) > -0.01  # none comes before its time


def test_closing_ends_the_wait_for_a_frame() -> None:
    far = made_up_frame(1)
    far.seconds = 1e4
    source = MadeUpStream(iter([made_up_frame(0), far]))
    with RealTimeStream(source) as stream:
        frames = iter(stream)
        next(frames)
        threading.Timer(0.1, stream.__exit__, (None, None, None)).start()
        assert next(frames) is far
    assert source.closed


def test_real_time_starts_anew_where_the_clock_jumps_back() -> None:
    frames = [made_up_frame(index) for index in (0, 1, 0, 1)]
    for frame, seconds in zip(frames, (1e4, 1e4 + 0.01, 5, 5.01), strict=True):
        frame.seconds = seconds
    start = time.monotonic()
    assert len(list(RealTimeStream(MadeUpStream(iter(frames))))) == 4
    assert time.monotonic() - start < 5


def test_the_newest_frame_wins_and_what_was_skipped_is_counted() -> None:
    """The camera delivers eight frames while the first is handled: the next one given out is the ninth."""
    handled = threading.Event()
    source = MadeUpStream((made_up_frame(index) for index in range(10)), lambda read: read < 9 or handled.wait(10))
    with NewestFrames(source) as stream:
        assert (stream.name, stream.size, stream.fps, stream.depth_unit) == ("made up", SIZE, 30.0, 0.001)
        frames = iter(stream)
        deadline = time.monotonic() + 10
        while stream.skipped < 8 and time.monotonic() < deadline:
            time.sleep(0.001)
        first = next(frames)
        handled.set()
        rest = list(frames)
    assert first.name == "008" and [frame.name for frame in rest] == ["009"]
    assert stream.skipped == 8 and time.perf_counter() - stream.arrived < 10
    assert source.closed and threading.get_ident() not in source.readers


def test_a_tap_gets_the_frames_that_are_skipped_too() -> None:
    tapped: list[str] = []
    items = [made_up_frame(0), FrameError("damaged"), made_up_frame(1), made_up_frame(2)]
    with NewestFrames(MadeUpStream(iter(items))) as stream:
        stream.set_tap(lambda frame: tapped.append(frame.name))
        iter(stream)
        deadline = time.monotonic() + 10
        while len(tapped) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert tapped == ["000", "001", "002"]
        stream.set_tap(lambda frame: tapped.append(f"waiting {frame.name}"))
        assert next(stream).name == "002"
        stream.set_tap(lambda frame: tapped.append("given out already"))
    assert tapped[3:] == ["waiting 002"]
    with NewestFrames(MadeUpStream(iter(items))) as stream:
        stream.set_tap(lambda frame: (_ for _ in ()).throw(OutputError("disk full")))
        with pytest.raises(OutputError, match="disk full"):
            list(stream)


def test_a_consumer_that_keeps_up_gets_every_frame() -> None:
    taken = threading.Semaphore(1)
    source = MadeUpStream((made_up_frame(index) for index in range(20)), lambda _: taken.acquire(timeout=10))
    names = []
    with NewestFrames(source) as stream:
        for frame in stream:
            names.append(frame.name)
            taken.release()
    assert names == [f"{index:03d}" for index in range(20)] and stream.skipped == 0


def test_errors_of_the_camera_reach_the_consumer() -> None:
    taken = threading.Semaphore(1)
    items = [made_up_frame(0), FrameError("half a picture"), made_up_frame(2), DeviceError("it was pulled out")]
    source = MadeUpStream(iter(items), lambda _: taken.acquire(timeout=10))
    with NewestFrames(source) as stream:
        frames = iter(stream)
        assert next(frames).name == "000"
        taken.release()
        with pytest.raises(FrameError, match="half a picture"):
            next(frames)
        taken.release()
        assert next(frames).name == "002"
        taken.release()
        for _ in range(2):  # and again, for who asks again
            with pytest.raises(DeviceError, match="pulled out"):
                next(frames)
    assert source.closed


def test_leaving_the_block_ends_the_thread() -> None:
    before = threading.active_count()
    source = MadeUpStream((made_up_frame(0) for _ in iter(int, 1)), lambda _: time.sleep(0.001))
    with NewestFrames(source) as stream:
        next(iter(stream))
        assert threading.active_count() == before + 1
    assert threading.active_count() == before and source.closed
    with NewestFrames(MadeUpStream(iter([]))):  # nothing was ever asked for
        pass
    assert threading.active_count() == before


def test_a_slow_consumer_of_a_replay_is_never_behind(folder: Path) -> None:
    with NewestFrames(open_stream(folder, real_time=True, fps=50)) as stream:
        names = []
        for frame in stream:
            names.append(frame.name)
            time.sleep(0.05)
    assert names[-1] == "005" and len(names) + stream.skipped == 6 and stream.skipped >= 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", r'nothing is no camera, and does not exist: wanted "realsense"'),
        ("film.mp4", r"film\.mp4 is no recording: wanted"),
        ("folder", "is no scene"),
        ("cameras.py:Camera", r"cameras\.py does not exist: pass the Python file"),
    ],
)
def test_sources_that_are_not_there_are_named(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"film")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SceneError, match=message):
        open_stream(source)


def test_options_that_a_source_does_not_have_are_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match=r"realsense cannot be opened with depth_scale: it takes only fps, size"):
        open_stream("realsense", depth_scale=0.001)
    with pytest.raises(OptionError, match=r"cannot be opened with size: it takes only cropped, depth_scale, fps"):
        open_stream(folder, size=(48, 64))


def test_aligned_depth_is_that_of_the_camera_beside() -> None:
    """A tilted plane, whose depth both cameras know exactly."""
    size, K_depth = (60, 80), np.array([[70.0, 0, 38.2], [0, 71, 29.1], [0, 0, 1]])
    K_color = np.array([[110.0, 0, 60.4], [0, 111, 44.7], [0, 0, 1]])
    angle = np.radians(3)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    pose[:3, 3] = 0.015, -0.004, 0.003
    normal, offset = np.array([0.2, -0.1, 1.0]), 0.8  # normal . p = offset, in the depth camera's frame

    def plane(K: np.ndarray, size: tuple[int, int], normal: np.ndarray, offset: float) -> np.ndarray:
        v, u = np.mgrid[: size[0], : size[1]]
        rays = np.linalg.inv(K) @ np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
        return (offset / (normal @ rays)).reshape(size).astype(np.float32)

    in_color = pose[:3, :3] @ normal
    wanted = plane(K_color, (90, 120), in_color, offset + in_color @ pose[:3, 3])
    aligned = align_depth(plane(K_depth, size, normal, offset), K_depth, K_color, pose, (90, 120))
    seen = aligned > 0
    assert seen[15:75, 15:105].all()  # no gaps, though it has more pixels than the depth image
    # Each is the depth of a pixel up to half a pixel of the depth image away, where the plane falls by 0.2 / 70 of 0.8.
    assert np.abs(aligned - wanted)[seen].max() < 0.003


def test_alignment_to_the_same_camera_changes_nothing() -> None:
    depth = np.random.default_rng(0).uniform(0.3, 2, SIZE).astype(np.float32)
    depth[10:20, 10:20] = 0
    np.testing.assert_array_equal(align_depth(depth, K, K, np.eye(4), SIZE) > 0, depth > 0)
    np.testing.assert_allclose(align_depth(depth, K, K, np.eye(4), SIZE), depth, rtol=1e-6)


def test_the_nearest_surface_hides_what_is_behind_it() -> None:
    depth = np.full((20, 40), 1.0, np.float32)
    depth[:, 20:] = 0.5
    pose = np.eye(4)
    pose[0, 3] = -0.05  # the near half moves to the left by 90 * 0.05 / 0.5 = 9 pixels, the far one by 4.5
    lens = np.array([[90.0, 0, 19.5], [0, 90, 9.5], [0, 0, 1]])
    aligned = align_depth(depth, lens, lens, pose, (20, 40))
    np.testing.assert_array_equal(np.unique(aligned[:, 11:31]), [0.5])
    np.testing.assert_array_equal(np.unique(aligned[:, :11]), [1.0])


def test_points_behind_the_colour_camera_are_not_seen() -> None:
    pose = np.eye(4)
    pose[2, 3] = -0.6
    assert not align_depth(np.full(SIZE, 0.5, np.float32), K, K, pose, SIZE).any()


def camera_of_the_page() -> str:
    page = Path(__file__).resolve().parent.parent / "docs" / "cameras.md"
    (code,) = re.findall(
        r"<!-- camera:begin -->\n```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    return code


def test_the_camera_of_the_page_works_as_it_is_printed(tmp_path: Path) -> None:
    code = camera_of_the_page()
    lines = [line for line in code.splitlines() if line]
    assert len(lines) <= 32, "the page promises a camera in 30 lines"
    (tmp_path / "my_camera.py").write_text(code)
    with NewestFrames(open_stream(f"{tmp_path / 'my_camera.py'}:MyCamera")) as stream:
        assert (stream.name, stream.live) == ("my camera", True)
        frames = list(islice(stream, 3))
    for frame in frames:
        frame.check_sizes()
        assert frame.depth.dtype == np.float32 and frame.depth.max() == np.float32(0.8) and frame.seconds is not None
    with CaptureWriter(tmp_path / "capture", stream.depth_unit, {}) as writer:
        writer.add(frames[0])
    np.testing.assert_array_equal(open_scene(tmp_path / "capture")[0].depth, frames[0].depth)


def test_a_camera_of_your_own_that_stops_is_told(tmp_path: Path) -> None:
    code = camera_of_the_page().replace("return np.zeros", "return None\n        return np.zeros")
    (tmp_path / "my_camera.py").write_text(code)
    with open_stream(f"{tmp_path / 'my_camera.py'}:MyCamera") as stream, pytest.raises(DeviceError, match="cable"):
        next(iter(stream))


def test_a_class_that_is_no_stream_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Half:\n    name = 'half'\n    def __iter__(self):\n        return iter([])\n"
    )
    with pytest.raises(SceneError, match=r"lacks size, fps, live, depth_unit, notes, __enter__, __exit__"):
        open_stream(f"{tmp_path / 'mine.py'}:Half")
    with pytest.raises(SceneError, match=r"has no class 'Other'; it has Half"):
        open_stream(f"{tmp_path / 'mine.py'}:Other")
