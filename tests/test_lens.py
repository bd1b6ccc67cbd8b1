"""Lens distortion: the models against the numbers of those who define them, and pictures without it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pose6d.errors import SceneError
from pose6d.scenes.lens import Lens, Undistortion, find_lens

K = np.array([[195.0, 0, 159.5], [0, 195, 119.5], [0, 0, 1]])
SIZE = (240, 320)
FIVE = (-0.3, 0.09, 0.01, 0.02, -0.02)


@pytest.mark.parametrize(
    ("model", "coefficients", "pixel"),
    [
        ("distortion.inverse_brown_conrady", FIVE, (259.609619, 171.049011)),
        ("RS2_DISTORTION_MODIFIED_BROWN_CONRADY", FIVE, (259.609619, 171.049011)),
        (2, FIVE, (259.609619, 171.049011)),
        ("Brown Conrady", FIVE, (260.188171, 171.347046)),
        ("distortion.kannala_brandt4", FIVE, (247.558975, 164.863708)),
        ("ftheta", (0.9, 0, 0, 0, 0), (263.268005, 172.956253)),
    ],
)
def test_models_agree_with_the_realsense_sdk(model: object, coefficients: tuple, pixel: tuple[float, float]) -> None:
    """What rs2_project_point_to_pixel of librealsense 2.59.1 gives for the point (0.33, 0.17, 0.6) and this K."""
    lens = find_lens(model, coefficients, "intrinsics.json")
    assert lens is not None
    x, y = lens.distort(np.array([0.33 / 0.6]), np.array([0.17 / 0.6]))
    # the SDK computes in float32
    np.testing.assert_allclose([195 * x[0] + 159.5, 195 * y[0] + 119.5], pixel, atol=2e-4)


@pytest.mark.parametrize("coefficients", [(-0.3, 0.1, 0.01, 0.02), FIVE, (*FIVE, 0.1, -0.05, 0.02)])
def test_opencv_and_ros_models_agree_with_opencv(coefficients: tuple[float, ...]) -> None:
    lens = find_lens("rational_polynomial" if len(coefficients) == 8 else "plumb_bob", coefficients, "K")
    assert lens is not None
    wanted = cv2.initUndistortRectifyMap(K, np.array(coefficients), None, K, SIZE[::-1], cv2.CV_32FC1)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    x, y = lens.distort((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1])
    np.testing.assert_allclose([K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]], wanted, atol=1e-3)


def test_fisheye_agrees_with_opencv() -> None:
    coefficients = (0.1, -0.02, 0.003, -0.001)
    lens = find_lens("equidistant", coefficients, "K")
    assert lens is not None
    rays = np.random.default_rng(0).uniform(-1, 1, (1, 20, 2))
    wanted = cv2.fisheye.distortPoints(rays, np.eye(3), np.array(coefficients))[0].T
    np.testing.assert_allclose(lens.distort(*rays[0].T), wanted, atol=1e-9)


def test_a_picture_is_seen_as_by_a_pinhole_camera() -> None:
    """A point of light at a known place comes back to where a pinhole camera sees it."""
    lens = Lens("brown_conrady", (-0.30, 0.09, 0.0, 0.0, 0.0))
    straighten = Undistortion(lens, K, SIZE)
    x, y = lens.distort(np.array([0.5]), np.array([0.3]))
    u, v = round(195 * x[0] + 159.5), round(195 * y[0] + 119.5)
    picture, depth, mask = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.float32), np.zeros(SIZE, bool)
    picture[v - 1 : v + 2, u - 1 : u + 2], depth[v - 1 : v + 2, u - 1 : u + 2] = 255, 0.7
    mask[v - 1 : v + 2, u - 1 : u + 2] = True
    wanted = [195 * 0.3 + 119.5, 195 * 0.5 + 159.5]
    assert abs(u - wanted[1]) > 8  # pixels that the lens moves it
    seen, deep, masked = straighten.smooth(picture), straighten.exact(depth), straighten.exact(mask)
    for image in (seen[..., 0] > 127, deep > 0, masked):
        np.testing.assert_allclose(np.argwhere(image).mean(axis=0), wanted, atol=0.7)
    assert set(np.unique(deep)) == {np.float32(0), np.float32(0.7)}  # never a mean of object and background
    assert masked.dtype == bool and seen.dtype == np.uint8
    assert straighten.shift > 8


def test_a_polynomial_that_turns_back_does_not_show_the_picture_twice() -> None:
    wide = np.array([[80.0, 0, 159.5], [0, 80, 119.5], [0, 0, 1]])
    white = np.full((*SIZE, 3), 255, np.uint8)
    seen = Undistortion(Lens("brown_conrady", (-0.3, 0.0, 0.0, 0.0)), wide, SIZE).smooth(white)[..., 0]
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    radius = np.hypot((u - 159.5) / 80, (v - 119.5) / 80)
    limit = 1 / np.sqrt(0.9)  # where r - 0.3 r^3 is largest
    assert (seen[radius < limit - 0.02] == 255).all()
    assert (seen[radius > limit + 0.02] == 0).all()


@pytest.mark.parametrize(
    ("model", "coefficients", "says"),
    [
        ("division", (0.1,), "'division'.*unknown.*undistort"),
        ("none", (0.1, 0, 0, 0, 0), "contradicts itself"),
        ("plumb_bob", (0.1, 0.2), "at least 4"),
        ("plumb_bob", (0.1,) * 6, "6 coefficients, wanted 4, 5, 8"),
        ("inverse_brown_conrady", (0.1,) * 4, "at least 5"),
        ("plumb_bob", (np.nan, 0, 0, 0, 0), "finite"),
    ],
)
def test_a_lens_that_is_not_understood_is_refused_by_name(model: str, coefficients: tuple, says: str) -> None:
    with pytest.raises(SceneError, match=f"intrinsics.json: lens distortion.*{says}"):
        find_lens(model, coefficients, "intrinsics.json")


@pytest.mark.parametrize("model", [None, "none", "division", "inverse_brown_conrady"])
def test_coefficients_of_zero_are_no_distortion(model: str | None) -> None:
    assert find_lens(model, [0.0] * 5, "K") is None
    assert find_lens(model, [], "K") is None
