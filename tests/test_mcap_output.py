"""Recordings as MCAP, read back by the reader of the format's authors."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mcap", reason="the extra [mcap] is not installed")

from mcap.exceptions import EndOfFile
from mcap.reader import make_reader
from mcap.records import Message
from mcap.stream_reader import StreamReader
from mcap_protobuf.decoder import DecoderFactory

from live.mcap_output import McapOutput, _import
from live.tracked_pose import TrackedPose
from pose6d.errors import MissingDependencyError, OutputError
from pose6d.scenes.frame import Frame
from tests.report_runs import BOX, K, make_pose

SCHEMAS = {
    "/camera/image": "foxglove.CompressedImage",
    "/camera/calibration": "foxglove.CameraCalibration",
    "/camera/points": "foxglove.PointCloud",
    "/tf": "foxglove.FrameTransforms",
    "/objects/meshes": "foxglove.SceneUpdate",
    "/objects/boxes": "foxglove.SceneUpdate",
    "/poses": "pose6d.Poses",
}


def make_frame(index: int, seconds: float | None) -> Frame:
    rgb = np.full((120, 160, 3), (200, 40, 10), np.uint8)
    return Frame(f"{index:04d}", rgb, np.full((120, 160), 0.7, np.float32), K, seconds=seconds)


def tracked(index: int) -> list[TrackedPose]:
    lost = 10 <= index < 20
    return [TrackedPose("box", "lost" if lost else "tracking", None if lost else make_pose(index).astype("f4"), 0.5)]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.mcap"
    with McapOutput(path, [("box", BOX)]) as output:
        for i in range(30):
            output.write(make_frame(i, 100 + i / 30), tracked(i))
    messages: dict[str, list[Any]] = defaultdict(list)
    times: dict[str, list[int]] = defaultdict(list)
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory(), PosesDecoder()])
        schemas = {
            c.topic: reader.get_summary().schemas[c.schema_id].name for c in reader.get_summary().channels.values()
        }
        for _, channel, message, decoded in reader.iter_decoded_messages():
            messages[channel.topic].append(decoded)
            times[channel.topic].append(message.log_time)
    assert schemas == SCHEMAS
    assert times["/tf"] == [round(1e9 * (100 + i / 30)) for i in range(30)]

    image = messages["/camera/image"][0]
    shown = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (120, 160, 3)
    assert np.abs(shown[60, 80].astype(int) - (10, 40, 200)).max() < 8
    assert image.timestamp.ToNanoseconds() == 100_000_000_000

    calibration = messages["/camera/calibration"][0]
    assert (calibration.width, calibration.height) == (160, 120)
    assert np.array_equal(np.reshape(calibration.K, (3, 3)), K)
    assert np.array_equal(np.reshape(calibration.P, (3, 4))[:, :3], K)

    assert len(messages["/camera/points"]) == 5  # of one second
    cloud = messages["/camera/points"][0]
    points = np.frombuffer(cloud.data, [("xyz", "<f4", 3), ("rgba", "u1", 4)])
    assert cloud.point_stride == points.itemsize
    assert {field.name: field.offset for field in cloud.fields} == {
        **{"x": 0, "y": 4, "z": 8},
        **{"red": 12, "green": 13, "blue": 14, "alpha": 15},
    }
    assert np.allclose(points["xyz"][:, 2], 0.7)
    assert points["rgba"][0].tolist() == [200, 40, 10, 255]

    for i, message in enumerate(messages["/tf"]):
        if 10 <= i < 20:
            assert not message.transforms
            continue
        (transform,) = message.transforms
        assert (transform.parent_frame_id, transform.child_frame_id) == ("camera", "box")
        found = (transform.translation.x, transform.translation.y, transform.translation.z)
        assert found == pytest.approx(make_pose(i)[:3, 3], abs=1e-6)
        assert np.linalg.norm([getattr(transform.rotation, axis) for axis in "wxyz"]) == pytest.approx(1, abs=1e-6)

    there, gone, again = messages["/objects/meshes"]  # told once, when it comes or goes
    assert not gone.entities
    for update in (there, again):
        assert update.entities[0].frame_id == "box"
        mesh = update.entities[0].triangles[0]
        assert max(mesh.indices) < len(mesh.points) == len(mesh.colors)
        corners = np.array([(point.x, point.y, point.z) for point in mesh.points])
        assert np.allclose([corners.min(axis=0), corners.max(axis=0)], BOX.bounds, atol=1e-6)
    assert len(messages["/objects/boxes"][0].entities[0].lines[0].points) == 24
    assert not messages["/objects/boxes"][12].entities
    assert [pose["objects"][0]["state"] for pose in messages["/poses"][9:11]] == ["tracking", "lost"]


class PosesDecoder:
    """Reads /poses for the reader of MCAP."""

    def decoder_for(self, message_encoding: str, schema: Any) -> Any:
        return json.loads if message_encoding == "json" and schema.encoding == "jsonschema" else None


def test_a_frame_without_time_and_a_clock_before_1970_are_written(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    with McapOutput(path, [("box", BOX)]) as output:
        for seconds in (None, -5.0, 1.0, 0.5):
            output.write(make_frame(0, seconds), tracked(0))
        output.close()
    with path.open("rb") as file:
        assert len(list(make_reader(file).iter_messages(topics=["/tf"]))) == 4


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"run\.mcap exists already: take another name"):
        McapOutput(path, [("box", BOX)])
    assert path.read_bytes() == b"precious"
    with pytest.raises(OutputError, match="a part of the path is a file"):
        McapOutput(path / "below.mcap", [("box", BOX)])


def test_without_mcap_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcap.writer", None)
    _import.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pip install 'pose6d\[mcap\]'"):
        McapOutput(tmp_path / "run.mcap", [("box", BOX)])
    assert not list(tmp_path.iterdir())


PROGRAM = """
import os, sys
from pathlib import Path
import numpy as np
from live.mcap_output import McapOutput, _import
from pose6d.scenes.frame import Frame
noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
depth = np.ones((480, 640), np.float32)
output = McapOutput(Path(sys.argv[1]), [])
for i in range(60):
    output.write(Frame(str(i), noise, depth, np.eye(3) * 500, seconds=i / 30), [])
print("written", flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_kill_loses_the_last_megabyte_at_most(tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "run.mcap"
    killed = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], cwd=repository, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "written" in killed.stdout
    frames, size = 0, 0
    with path.open("rb") as file:
        try:
            for record in StreamReader(file, emit_chunks=False).records:
                if isinstance(record, Message):
                    frames += record.data.startswith(b'{"format"')
                    size = max(size, len(record.data))
        except EndOfFile:
            pass
    assert frames >= 60 - ((1 << 20) // size + 2)
