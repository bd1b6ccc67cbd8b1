"""Projection, crop windows and their sampling, held against arithmetic done by hand and plain loops."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from pose6d.errors import SceneError
from pose6d.geometry.camera import (
    backproject,
    check_intrinsics,
    crop_images,
    crop_transforms,
    unusual_intrinsics,
)

K = torch.tensor([[600.0, 0.0, 319.5], [0.0, 610.0, 239.5], [0.0, 0.0, 1.0]])


def _poses(translations: list) -> torch.Tensor:
    poses = torch.eye(4).repeat(len(translations), 1, 1)
    poses[:, :3, 3] = torch.tensor(translations)
    return poses


def _window(left: float, right: float, top: float, bottom: float, size: int) -> torch.Tensor:
    sx, sy = size / (right - left), size / (bottom - top)
    return torch.tensor([[sx, 0.0, -left * sx], [0.0, sy, -top * sy], [0.0, 0.0, 1.0]])


def _sample_by_loop(image: np.ndarray, transform: np.ndarray, size: int, mode: str) -> np.ndarray:
    """The definition: crop pixel (i, j) shows the image at the inverse transform of (j, i); outside is 0."""
    channels, height, width = image.shape
    out = np.zeros((channels, size, size))

    def at(v: int, u: int) -> np.ndarray:
        return image[:, v, u] if 0 <= v < height and 0 <= u < width else np.zeros(channels)

    for i in range(size):
        for j in range(size):
            u, v, _ = np.linalg.inv(transform) @ [j, i, 1]
            if mode == "nearest":
                out[:, i, j] = at(int(np.floor(v + 0.501)), int(np.floor(u + 0.501)))
                continue
            u0, v0 = int(np.floor(u)), int(np.floor(v))
            du, dv = u - u0, v - v0
            top = (1 - du) * at(v0, u0) + du * at(v0, u0 + 1)
            bottom = (1 - du) * at(v0 + 1, u0) + du * at(v0 + 1, u0 + 1)
            out[:, i, j] = (1 - dv) * top + dv * bottom
    return out


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_projection_undoes_backprojection(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    depth = 0.1 + 3 * torch.rand(12, 17, generator=generator)
    skewed = torch.tensor([[90.0, 3.0, 8.2], [0.0, 95.0, 5.7], [0.0, 0.0, 1.0]])
    seen = backproject(depth, skewed) @ skewed.T
    uv = seen[..., :2] / seen[..., 2:]
    v, u = torch.meshgrid(torch.arange(12.0), torch.arange(17.0), indexing="ij")
    torch.testing.assert_close(uv, torch.stack([u, v], -1), atol=2e-4, rtol=0)


def test_backproject_leaves_missing_depth_at_the_origin(device: torch.device) -> None:
    depth = torch.tensor([[0.0, 1.0], [0.5, 0.0]], device=device)
    xyz = backproject(depth, K.to(device))
    assert (xyz[depth == 0] == 0).all()
    assert xyz.device.type == device.type
    torch.testing.assert_close(xyz[..., 2], depth)
    batched = backproject(torch.stack([depth, 2 * depth]), torch.stack([K, K]).to(device))
    torch.testing.assert_close(batched[1], 2 * xyz)


@pytest.mark.parametrize(
    ("camera", "position", "diameter", "ratio", "window"),
    [
        # r3d = 0.1 * 1.2 / 2 = 0.06 m. At 0.5 m: 72 px across, 73.2 px down: half the width is 73.2 px on both axes.
        # Centre (319.5 + 24, 239.5): left 270.3 -> 270, right 416.7 -> 417, top 166.3 -> 166, bottom 312.7 -> 313.
        ((600, 610, 319.5, 239.5), (0.02, 0.0, 0.5), 0.1, 1.2, (270, 417, 166, 313)),
        # Half width 10 px: left 40.5 -> 40, right 60.5 -> 60, top 41.5 -> 42, bottom 61.5 -> 62: halves to even.
        ((100, 100, 50.5, 51.5), (0.0, 0.0, 1.0), 0.2, 1.0, (40, 60, 42, 62)),
        # Half width 10.25 px: left 39.75 -> 40, right 60.25 -> 60, top 40.25 -> 40, bottom 60.75 -> 61: not square.
        ((100, 100, 50, 50.5), (0.0, 0.0, 1.0), 0.205, 1.0, (40, 60, 40, 61)),
    ],
)
def test_crop_windows_by_hand(camera: tuple, position: tuple, diameter: float, ratio: float, window: tuple) -> None:
    fx, fy, cx, cy = camera
    intrinsics = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    transform = crop_transforms(_poses([position]), intrinsics, diameter, ratio, 160)[0]
    torch.testing.assert_close(transform, _window(*window, 160))


def test_crop_transforms_take_one_camera_and_diameter_per_pose(device: torch.device) -> None:
    poses = _poses([[0.1, 0.0, 0.7], [-0.05, 0.1, 1.1]]).to(device)
    cameras = torch.stack([K, 0.5 * K + torch.diag(torch.tensor([0.0, 0.0, 0.5]))]).to(device)
    diameters = torch.tensor([0.1, 0.3], device=device)
    together = crop_transforms(poses, cameras, diameters, 1.1, 128)
    for i in range(2):
        alone = crop_transforms(poses[i : i + 1], cameras[i], float(diameters[i]), 1.1, 128)
        torch.testing.assert_close(together[i], alone[0])


def test_hypotheses_without_a_window_give_finite_transforms_and_black_crops(device: torch.device) -> None:
    poses = _poses([[0.0, 0.0, -1.0], [5.0, 0.0, 0.0], [0.0, 0.0, 1e6], [900.0, 0.0, 1.0]]).to(device)
    transforms = crop_transforms(poses, K.to(device), 0.2, 1.2, 32)
    assert torch.isfinite(transforms).all()
    crops = crop_images(torch.ones(1, 480, 640, device=device), transforms, 32)
    assert torch.isfinite(crops).all()
    assert (crops[3] == 0).all()


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    "window",
    [(5, 25, 3, 23), (-7, 13, -4, 16), (20, 60, 10, 50), (12, 15, 9, 12), (2, 12, 2, 12), (-100, -60, 0, 40)],
    ids=["inside", "over the top left", "over the bottom right", "magnified", "exact pixels", "outside"],
)
def test_crops_sample_pixel_centres_and_zero_outside(
    mode: str, window: tuple[int, int, int, int], device: torch.device
) -> None:
    image = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(1)) + 0.1
    transform = _window(*window, size=10)
    expected = _sample_by_loop(image.double().numpy(), transform.double().numpy(), 10, mode)
    got = crop_images(image.to(device), transform[None].to(device), 10, mode)[0].cpu().double().numpy()
    # Sampling positions carry 1e-5 px of float32 rounding; nearest copies values and must be exact.
    np.testing.assert_allclose(got, expected, atol=0 if mode == "nearest" else 1e-4)


def test_an_exact_window_copies_the_image() -> None:
    image = torch.rand(2, 480, 640)
    crop = crop_images(image, _window(200, 360, 100, 260, 160)[None], 160, "nearest")
    assert torch.equal(crop[0], image[:, 100:260, 200:360])


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("batch", [1, 2, 6])
def test_many_images_give_the_crops_of_each(mode: str, batch: int, device: torch.device) -> None:
    images = torch.rand(batch, 3, 40, 50, device=device)
    transforms = torch.stack([_window(3 * i, 3 * i + 20, i, i + 22, 16) for i in range(6)]).to(device)
    together = crop_images(images, transforms, 16, mode)
    for i in range(6):
        alone = crop_images(images[i * batch // 6], transforms[i : i + 1], 16, mode)
        torch.testing.assert_close(together[i], alone[0], atol=1e-6, rtol=0)


@pytest.mark.cuda
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_cropping_on_cuda_neither_copies_the_image_nor_waits(mode: str) -> None:
    device = torch.device("cuda")
    image = torch.rand(3, 1080, 1920, device=device)
    poses, camera = torch.eye(4, device=device).repeat(252, 1, 1), K.to(device)
    poses[:, 2, 3] = 0.5
    crop_images(image, crop_transforms(poses, camera, 0.1, 1.2, 160), 160, mode)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    torch.cuda.set_sync_debug_mode("error")
    try:
        crops = crop_images(image, crop_transforms(poses, camera, 0.1, 1.2, 160), 160, mode)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    extra = torch.cuda.max_memory_allocated() - before
    # The crops, their sampling grid and small change; 252 copies of the image would be 6.3 GB.
    assert extra < 2.5 * crops.numel() * 4


def test_crops_need_images_that_divide_them() -> None:
    with pytest.raises(ValueError, match="5 crops cannot be shared evenly among 2 images"):
        crop_images(torch.zeros(2, 1, 4, 4), torch.eye(3).repeat(5, 1, 1), 4)
    with pytest.raises(ValueError, match="bicubic"):
        crop_images(torch.zeros(1, 4, 4), torch.eye(3)[None], 4, "bicubic")


def test_good_intrinsics_pass() -> None:
    check_intrinsics(K, 480, 640)
    check_intrinsics(np.array([[606.757, 0, 319.205], [0, 606.368, 239.881], [0, 0, 1]]), 480, 640)
    check_intrinsics(np.array([[1075.65, 0, 365.33], [0, 1073.90, 289.72], [0, 0, 1]]), 540, 720)  # a cropped sensor


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (None, "no camera intrinsics"),
        (np.eye(4), r"shape \(4, 4\)"),
        (np.array([600.0, 600.0, 320.0, 240.0]), r"shape \(4,\)"),
        (np.full((3, 3), np.nan), "not finite"),
        (K.numpy().T, "transposed"),
        (np.diag([0.0, 600.0, 1.0]), "positive"),
        (np.array([[1200.0, 0, 639.5], [0, 1200, 359.5], [0, 0, 1]]), "another resolution"),
        (np.array([[300.0, 0, 159.5], [0, 300, 119.5], [0, 0, 1]]), "about 319x239"),
        (np.array([[1380.0, 0, 959.5], [0, 1380, 539.5], [0, 0, 1]]), "about 1919x1079"),
        (np.array([[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]), "parts of the width"),
        (np.array([[1.93, 0, 319.5], [0, 1.93, 239.5], [0, 0, 1]]), "in millimetres"),
        (np.array([[600.0, 0, 239.5], [0, 600, 319.5], [0, 0, 1]]), "turned by 90 degrees"),
    ],
    ids=[
        *("missing", "4x4", "vector", "nan", "transposed", "no focal length", "of a larger image"),
        *("of a smaller image", "of a much larger image", "normalised", "of the sensor", "of a turned image"),
    ],
)
def test_bad_intrinsics_are_refused(bad: np.ndarray | None, says: str) -> None:
    with pytest.raises(SceneError, match=says):
        check_intrinsics(bad, 480, 640, source="cam_K.txt")


@pytest.mark.parametrize(
    ("left", "top", "height", "width"), [(400, 100, 300, 200), (330, 0, 480, 200), (0, 300, 90, 640)]
)
def test_parts_of_larger_images_need_no_word_where_they_are_no_other_resolution(
    left: int, top: int, height: int, width: int
) -> None:
    part = K.numpy() - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    check_intrinsics(part, height, width)
    assert any("principal point" in note for note in unusual_intrinsics(part, height, width))


def test_parts_of_larger_images_that_look_like_another_resolution_need_a_word() -> None:
    with pytest.raises(SceneError, match=r"--cropped.*open_scene"):
        check_intrinsics(K, 240, 320)  # the upper left quarter
    check_intrinsics(K, 240, 320, cropped=True)
    with pytest.raises(SceneError, match="transposed"):
        check_intrinsics(K.T, 240, 320, cropped=True)


def test_what_is_unusual_is_said() -> None:
    assert unusual_intrinsics(np.array([[600.0, 0, 319.5], [0, 601, 239.5], [0, 0, 1]]), 480, 640) == []
    (note,) = unusual_intrinsics(np.array([[600.0, 0, 319.5], [0, 620, 239.5], [0, 0, 1]]), 480, 640)
    assert "not square" in note and "swapped" in note
    (note,) = unusual_intrinsics(np.array([[600.0, 2, 319.5], [0, 600, 239.5], [0, 0, 1]]), 480, 640)
    assert "skewed by 2" in note
