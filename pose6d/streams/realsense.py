"""Intel RealSense cameras and their recordings (.bag, .db3): aligned colour and depth. Home of pyrealsense2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import cv2
import numpy as np

from pose6d.errors import DeviceError, MissingDependencyError, SceneError
from pose6d.scenes.frame import Frame
from pose6d.scenes.images import depth_in_metres

REALSENSE = "realsense"  # the source's name
_PATIENCE_MS = 5000  # for one frame; longer than any exposure, and a sleeping USB hub wakes up in that
_END_MS = 1000  # for one frame of a recording, after which its end is looked for
_HEAD = 1 << 16  # bytes: the SDK writes the version of its format before all else
_GRID = 8  # pixels between the places at which lens distortion is evaluated


class FrameAligner:
    """Turns the SDK's framesets into frames: pairs, aligns, converts and removes lens distortion.

    Args:
        K: (3, 3) intrinsics of the colour pictures.
        depth_unit: metres per unit of depth.
        fps: of the colour stream.
    """

    def __init__(self, K: np.ndarray, depth_unit: float, fps: float) -> None:
        self._rs = _sdk()
        self._K, self._depth_unit = K, depth_unit
        self._align = self._rs.align(self._rs.stream.color)
        self._longest_wait = 750 / fps  # milliseconds between the two pictures of a pair
        self._last = -1
        self._map: tuple[np.ndarray, np.ndarray] | None = None
        self._profile_known = False

    def __call__(self, frameset: Any) -> Frame | None:
        """The frame, or None where the set lacks one of the two pictures or repeats an earlier one."""
        color, depth = frameset.get_color_frame(), frameset.get_depth_frame()
        if not color or not depth or color.get_frame_number() == self._last:
            return None
        same_clock = color.get_frame_timestamp_domain() == depth.get_frame_timestamp_domain()
        if same_clock and abs(color.get_timestamp() - depth.get_timestamp()) > self._longest_wait:
            return None
        self._last = color.get_frame_number()
        aligned = self._align.process(frameset)
        rgb = self._rgb(color)
        units = np.array(aligned.get_depth_frame().get_data())  # a copy: the SDK reuses its memory
        if not self._profile_known:
            self._map = self._undistortion(color.profile.as_video_stream_profile().get_intrinsics())
            self._profile_known = True
        if self._map is not None:
            rgb = cv2.remap(rgb, *self._map, cv2.INTER_LINEAR)
            units = cv2.remap(units, *self._map, cv2.INTER_NEAREST)
        depth = depth_in_metres(units, self._depth_unit)
        return Frame(str(self._last), rgb, depth, self._K.copy(), seconds=color.get_timestamp() / 1000)

    def _rgb(self, color: Any) -> np.ndarray:
        data, form = np.asanyarray(color.get_data()), self._rs.format
        kind = color.profile.format()
        if kind == form.rgb8:
            return data.copy()
        codes = {form.bgr8: cv2.COLOR_BGR2RGB, form.rgba8: cv2.COLOR_RGBA2RGB, form.bgra8: cv2.COLOR_BGRA2RGB}
        codes |= {form.yuyv: cv2.COLOR_YUV2RGB_YUYV, form.uyvy: cv2.COLOR_YUV2RGB_UYVY}
        if kind not in codes:
            raise SceneError(f"colour pictures of format {kind} are not supported: record as RGB8, BGR8 or YUYV")
        if data.dtype == np.uint16:  # the SDK hands over two bytes of YUYV as one number
            data = data.view(np.uint8).reshape(*data.shape, 2)
        return cv2.cvtColor(data, codes[kind])

    def _undistortion(self, intrinsics: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """Where each pixel of a pinhole camera lies in the picture; None for a lens without distortion."""
        if intrinsics.model == self._rs.distortion.none or not any(intrinsics.coeffs):
            return None
        columns, rows = -(-intrinsics.width // _GRID) + 1, -(-intrinsics.height // _GRID) + 1
        places = np.zeros((rows, columns, 2), np.float32)
        for row in range(rows):
            for column in range(columns):
                x = (column * _GRID - intrinsics.ppx) / intrinsics.fx
                y = (row * _GRID - intrinsics.ppy) / intrinsics.fy
                places[row, column] = self._rs.rs2_project_point_to_pixel(intrinsics, [x, y, 1.0])
        v, u = np.mgrid[0 : intrinsics.height, 0 : intrinsics.width].astype(np.float32) / _GRID
        fine = cv2.remap(places, u, v, cv2.INTER_LINEAR)
        return np.ascontiguousarray(fine[..., 0]), np.ascontiguousarray(fine[..., 1])


class RealSenseStream:
    """A running camera or a recording that plays: a `FrameStream`.

    Frames are named by the camera's count of its colour pictures, in which gaps are lost frames; `seconds` are those of
    the camera's clock.
    """

    def __init__(self, pipeline: Any, profile: Any, source: str, live: bool) -> None:
        rs = _sdk()
        self._pipeline, self._source, self.live = pipeline, source, live
        device = profile.get_device()
        self.name = device.get_info(rs.camera_info.name) if device.supports(rs.camera_info.name) else "RealSense"
        color = profile.get_stream(rs.stream.color).as_video_stream_profile()
        lens = color.get_intrinsics()
        self.size = (lens.height, lens.width)
        self.fps: float | None = float(color.fps())
        self.depth_unit = _depth_unit(device, source)
        self.notes: list[str] = []
        K = np.array([[lens.fx, 0, lens.ppx], [0, lens.fy, lens.ppy], [0, 0, 1]], dtype=np.float64)
        self._aligner = FrameAligner(K, self.depth_unit, float(color.fps()))
        self._playback = None if live else device.as_playback()

    def __enter__(self) -> RealSenseStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(RuntimeError):  # a camera that was unplugged cannot be stopped
            self._pipeline.stop()

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the recording ends; a camera never ends.

        Raises:
            DeviceError: the camera sends nothing any more.
            SceneError: the recording is damaged.
        """
        while True:
            try:
                arrived, frameset = self._pipeline.try_wait_for_frames(_PATIENCE_MS if self.live else _END_MS)
                if not arrived and self._is_playing():  # a busy machine, or a slow disk
                    arrived, frameset = self._pipeline.try_wait_for_frames(_PATIENCE_MS)
            except RuntimeError as error:
                raise self._stop_error(str(error)) from error
            if not arrived:
                if self.live:
                    raise self._stop_error(f"no frame within {_PATIENCE_MS / 1000:g} s")
                return
            frame = self._aligner(frameset)
            if frame is not None:
                yield frame

    def _is_playing(self) -> bool:
        """Whether a recording has not come to its end."""
        return self._playback is not None and self._playback.current_status() == _sdk().playback_status.playing

    def _stop_error(self, reason: str) -> DeviceError | SceneError:
        if self.live:
            return DeviceError(f"{self._source} stopped sending ({reason}): is the cable loose, or the port USB 2?")
        return SceneError(f"{self._source} cannot be read further ({reason}): it is truncated; copy it again")


def open_camera(width: int = 640, height: int = 480, fps: int = 30, serial: str | None = None) -> RealSenseStream:
    """Start a connected camera with automatic exposure.

    Raises:
        MissingDependencyError: the SDK is not installed.
        DeviceError: no camera, not the one with this serial number, or it cannot deliver these streams.
    """
    rs = _sdk()
    try:
        devices = list(rs.context().query_devices())
        serials = [device.get_info(rs.camera_info.serial_number) for device in devices]
    except RuntimeError as error:
        raise DeviceError(f"the RealSense SDK cannot look for cameras: {error}") from error
    if not serials:
        raise DeviceError(
            "no RealSense camera is connected: plug it into a USB 3 port; on Linux install Intel's udev rules; in a "
            "container pass the device on. A recording can be imported instead, and `simulate` needs no camera"
        )
    if serial is not None and serial not in serials:
        raise DeviceError(f"no RealSense camera with serial number {serial}; connected: {', '.join(serials)}")
    config = rs.config()
    config.enable_device(serial or serials[0])
    config.enable_stream(rs.stream.color, width, height, rs.format.rgb8, fps)
    config.enable_stream(rs.stream.depth, width, height, rs.format.z16, fps)
    pipeline = rs.pipeline()
    try:
        profile = pipeline.start(config)
    except RuntimeError as error:
        raise DeviceError(
            f"the RealSense camera cannot deliver colour and depth of {width}x{height} at {fps} frames per second "
            f"({error}): take another size or rate; on USB 2 few are possible"
        ) from error
    for sensor in profile.get_device().query_sensors():
        if sensor.supports(rs.option.enable_auto_exposure):
            sensor.set_option(rs.option.enable_auto_exposure, 1)
    return RealSenseStream(pipeline, profile, "the camera", live=True)


def open_recording(path: Path) -> RealSenseStream:
    """Play a .bag or .db3 file frame by frame, however long each takes to handle.

    Raises:
        MissingDependencyError: the SDK is not installed.
        SceneError: the file is missing or no recording, or lacks colour or depth.
    """
    rs = _sdk()
    if not path.is_file():
        raise SceneError(f"{path} does not exist: pass a .bag or .db3 recording")
    if path.suffix.lower() not in (".bag", ".db3"):
        raise SceneError(f"{path} is no RealSense recording: wanted a .bag or .db3 file")
    config, pipeline = rs.config(), rs.pipeline()
    try:
        rs.config.enable_device_from_file(config, str(path), repeat_playback=False)
        # Before the start: as if live, the first frames would be lost.
        config.resolve(rs.pipeline_wrapper(pipeline)).get_device().as_playback().set_real_time(False)
        profile = pipeline.start(config)
    except RuntimeError as error:
        raise SceneError(
            f"{path} ({path.stat().st_size} bytes) cannot be played: {error}; it is truncated, no RealSense recording, "
            "or of another version of the SDK (.db3 needs pyrealsense2 2.57 or later)"
        ) from error
    try:
        kinds = {stream.stream_type() for stream in profile.get_streams()}
        for kind, what in ((rs.stream.color, "colour"), (rs.stream.depth, "depth")):
            if kind not in kinds:
                raise SceneError(f"{path} holds no {what} stream: record colour and depth together")
        return RealSenseStream(pipeline, profile, str(path), live=False)
    except BaseException:
        pipeline.stop()
        raise


def is_realsense_recording(path: Path) -> bool:
    """Whether a .bag or .db3 file was written by RealSense's SDK, rather than by ROS."""
    with path.open("rb") as file:
        return b"/file_version" in file.read(_HEAD)


def _depth_unit(device: Any, source: str) -> float:
    rs = _sdk()
    for sensor in device.query_sensors():
        if sensor.is_depth_sensor() and sensor.supports(rs.option.depth_units):
            # The SDK keeps it as float32, whose tail would look like a different scale in JSON.
            return float(f"{sensor.get_option(rs.option.depth_units):.7g}")
    raise SceneError(f"{source} does not say its depth scale: record it again with depth units")


def _sdk() -> ModuleType:
    try:
        import pyrealsense2
    except ImportError as error:
        raise MissingDependencyError(
            f"RealSense cameras and recordings need pyrealsense2 ({error}): pip install 'pose6d[realsense]'; it also "
            "needs the system's libusb-1.0"
        ) from error
    return pyrealsense2
