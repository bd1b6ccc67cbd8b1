"""The simulated cameras of single frames: what grows with distance, what the second camera hides, motion blur."""

from __future__ import annotations

import numpy as np
import pytest

from pose6d.camera_simulation.frozen.avocado_camera import AvocadoCamera
from pose6d.camera_simulation.frozen.stereo_camera import StereoCamera
from pose6d.camera_simulation.motion_blur import blur_by_motion, image_motion

FINE = {"fx": 600.0, "fy": 600.0, "depth_scale": 0.0001}
CAMERAS = pytest.mark.parametrize("camera", [StereoCamera(**FINE), AvocadoCamera(**FINE)], ids=["stereo", "avocado"])


def _measure(camera: StereoCamera, depth: np.ndarray) -> np.ndarray:
    """Metres, 0 where nothing was measured, under light of mid grey."""
    units = camera.measure_depth(depth, np.full(depth.shape, 0.5), np.random.default_rng(0))
    assert units.dtype == np.uint16
    return units * camera.depth_scale


@CAMERAS
def test_depth_errors_grow_with_the_square_of_the_distance(camera: StereoCamera) -> None:
    spread = []
    for distance in (0.5, 1.0, 2.0):
        seen = _measure(camera, np.full((200, 200), distance, np.float32))
        valid = seen > 0
        assert valid.mean() > 0.97
        assert abs(seen[valid].mean() - distance) < 0.01 * distance
        spread.append(seen[valid].std())
    assert spread[1] / spread[0] == pytest.approx(4, rel=0.3)
    assert spread[2] / spread[1] == pytest.approx(4, rel=0.3)


@CAMERAS
def test_depth_has_a_shadow_on_one_side_of_a_near_object(camera: StereoCamera) -> None:
    depth = np.full((120, 160), 1.0, np.float32)
    depth[30:90, 60:100] = 0.5
    seen = _measure(camera, depth)
    strip = round(600 * 0.05 / 0.5 - 600 * 0.05 / 1.0)  # the difference in disparity
    assert (seen[35:85, 60 - strip + 3 : 57] == 0).mean() > 0.9
    assert (seen[35:85, 103 : 100 + strip - 3] == 0).mean() < 0.1


@CAMERAS
def test_nothing_is_measured_where_nothing_is_or_units_run_out(camera: StereoCamera) -> None:
    depth = np.full((60, 80), 8.0, np.float32)  # 80,000 units
    depth[:, :20] = 0
    assert not _measure(camera, depth).any()


@CAMERAS
def test_a_bias_moves_depth_and_gain_brightens(camera: StereoCamera) -> None:
    depth, grey = np.full((60, 80), 0.5, np.float32), np.full((60, 80, 3), 0.2, np.float32)
    (dim, near), (bright, far) = (
        camera.capture(grey, depth, gain, np.random.default_rng(0), bias) for gain, bias in ((1.0, 0.0), (2.0, 0.1))
    )
    assert bright.dtype == np.uint8 and bright.mean() / dim.mean() == pytest.approx(np.sqrt(2), rel=0.05)
    assert np.median(far[far > 0]) / np.median(near[near > 0]) == pytest.approx(1 / 0.9, rel=0.01)


def test_motion_blur_goes_as_far_as_the_camera_moves() -> None:
    """A point 0.5 m away, the camera 1 mm to the side by the end of the exposure: 600 * 1 / 500 = 1.2 pixels."""
    K = StereoCamera(fx=600, fy=600).K
    xyz = np.zeros((480, 640, 3), np.float32)
    xyz[..., 2] = 0.5
    motion = np.eye(4)
    motion[0, 3] = -0.001
    flow = image_motion(xyz, motion, K)
    np.testing.assert_allclose(flow[..., 0], -1.2, atol=1e-4)
    picture = np.zeros((480, 640, 3), np.float32)
    picture[:, 320:] = 1
    blurred = blur_by_motion(picture, flow)[240, :, 0]
    assert ((blurred > 0.02) & (blurred < 0.98)).sum() == pytest.approx(2.4, abs=1.5)
