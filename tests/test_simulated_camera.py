"""What the simulated sensor may and may not do to an image."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from pose6d.camera_simulation.color_effects import blur_kernels, compress, convolve
from pose6d.camera_simulation.depth_effects import displace, fatten, inverse_depth, stereo_overlap
from pose6d.camera_simulation.frozen.plain_camera import PlainCamera
from pose6d.camera_simulation.simulated_camera import NOISY_DEPTH, SimulatedCamera


def _only(**effects: float) -> SimulatedCamera:
    """A camera with these faults and no others, equally in all scenes."""
    return SimulatedCamera(**{f.name: 0.0 for f in fields(SimulatedCamera)} | {"strength": 1.0} | effects)


def _seed(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _step_edge(count: int = 8) -> torch.Tensor:
    """(N, 32, 32) depth with a nearer left half, the top row missing."""
    depth = torch.full((count, 32, 32), 5.0)
    depth[:, :, :16] = 4.0
    depth[:, 0] = 0.0
    return depth


def _box(count: int) -> torch.Tensor:
    """(N, 24, 96) depth of a box in the middle, half as deep as the wall behind it."""
    depth = torch.full((count, 24, 96), 8.0)
    depth[:, 8:16, 40:56] = 4.0
    return depth


def test_a_perfect_sensor_changes_nothing_but_the_last_digit() -> None:
    noise, rgb = SimulatedCamera(strength=0.0), torch.rand((8, 3, 30, 42), generator=_seed())
    depth = _step_edge()
    torch.testing.assert_close(noise.measure_depth(depth, torch.ones(8, 3, 32, 32), _seed()), depth, atol=1e-4, rtol=0)
    torch.testing.assert_close(noise.expose(rgb, _seed()), rgb, atol=2e-4, rtol=0)


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_any_sensor_gives_images_in_range_and_the_seed_decides_them(strength: float) -> None:
    noise, rgb = SimulatedCamera(strength=strength), torch.rand((64, 3, 27, 32), generator=_seed())
    depth = _step_edge(64)[:, :27]
    rgb_before, depth_before = rgb.clone(), depth.clone()
    color, seen = noise.expose(rgb, _seed(1)), noise.measure_depth(depth, rgb, _seed(1))
    assert color.shape == rgb.shape and seen.shape == depth.shape
    assert color.min() >= 0 and color.max() <= 1 and torch.isfinite(seen).all() and seen.min() >= 0
    assert (seen[depth == 0] == 0).all()
    torch.testing.assert_close(noise.expose(rgb, _seed(1)), color, atol=0, rtol=0)
    torch.testing.assert_close(noise.measure_depth(depth, rgb, _seed(1)), seen, atol=0, rtol=0)
    assert not torch.equal(noise.measure_depth(depth, rgb, _seed(2)), seen)
    assert torch.equal(rgb, rgb_before) and torch.equal(depth, depth_before)


def test_some_scenes_are_nearly_clean_and_some_awful() -> None:
    depth, rgb = torch.full((400, 16, 16), 5.0), torch.full((400, 3, 16, 16), 0.5)

    def spread(clean: float, awful: float) -> torch.Tensor:
        noise = _only(depth_fine=0.01, clean_share=clean, awful_share=awful)
        return noise.measure_depth(depth, rgb, _seed()).std((1, 2)).mean()

    assert spread(1.0, 0.0) < 0.2 * spread(0.0, 0.0)
    assert spread(0.0, 1.0) > 1.8 * spread(0.0, 0.0)


def test_noise_and_steps_grow_with_the_square_of_the_depth() -> None:
    depth, rgb = torch.full((32, 64, 64), 4.0), torch.full((32, 3, 64, 64), 0.5)
    depth[:, :, 32:] = 8.0
    target = torch.full((32,), 4.0)
    for noise in (_only(depth_fine=0.01), _only(depth_correlated=0.01), _only(depth_warp=0.005)):
        error = noise.measure_depth(depth, rgb, _seed(), target) - depth
        assert error[..., 32:].std() / error[..., :32].std() == pytest.approx(4.0, rel=0.25)

    ramp = torch.linspace(3.0, 9.0, 4000).expand(4, 2, -1)
    seen = _only(depth_step=0.2).measure_depth(ramp, rgb[:4, :, :2, :1].expand(-1, -1, -1, 4000), _seed(), target[:4])
    step = (seen - ramp).abs()
    assert step[:, :, 2500:].amax() > 2 * step[:, :, :800].amax() > 0


def test_an_error_at_the_target_is_as_large_as_said() -> None:
    depth, rgb = torch.full((2000, 8, 8), 5.0), torch.full((2000, 3, 8, 8), 0.5)
    error = _only(depth_fine=0.03).measure_depth(depth, rgb, _seed(), torch.full((2000,), 5.0)) - depth
    # The strength is the limit times a squared uniform draw, of which the mean square is 1/5.
    assert error.std().item() == pytest.approx(0.03 / 5**0.5, rel=0.05)


def test_stereo_shadows_are_as_wide_as_the_difference_of_disparities() -> None:
    inverse = inverse_depth(_box(2)[:, None] / 4.0)  # 1 on the box, 1/2 on the wall
    overlap = stereo_overlap(inverse, torch.full((2, 1, 1, 1), 10.0), torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
    # Disparities of 10 and 5 pixels: the box covers the 5 columns beside it, the outermost of them just so.
    expected = torch.zeros(2, 1, 24, 96)
    expected[0, :, 8:16, 35:40] = torch.arange(5.0)
    expected[1, :, 8:16, 56:61] = torch.arange(5.0).flip(0)
    torch.testing.assert_close(overlap, expected)


def test_shadows_fall_on_one_side_of_the_nearer_surface() -> None:
    depth, rgb = _box(100), torch.full((100, 3, 24, 96), 0.5)
    lost = _only(shadows=1.0).measure_depth(depth, rgb, _seed()) == 0
    assert not lost[:, 8:16, 40:56].any() and not lost[:, :6].any()
    left, right = lost[:, 8:16, :40].any((1, 2)), lost[:, 8:16, 56:].any((1, 2))
    assert not (left & right).any()
    assert left.sum() > 30 and right.sum() > 30


def test_a_border_band_lies_at_one_border() -> None:
    depth, rgb = torch.full((100, 24, 96), 5.0), torch.full((100, 3, 24, 96), 0.5)
    lost = _only(border=1.0).measure_depth(depth, rgb, _seed()) == 0
    left, right = lost[:, :, 0].all(1), lost[:, :, -1].all(1)
    assert (left ^ right).all()
    assert not lost[:, :, 46:50].any()


def test_nearer_surfaces_grow_by_whole_pixels() -> None:
    inverse = inverse_depth(_box(3)[:, None])
    grown = fatten(inverse, torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1))
    assert (grown == 0.25).sum((1, 2, 3)).tolist() == [8 * 16, 10 * 18, 12 * 20]
    depth, rgb = _box(50), torch.full((50, 3, 24, 96), 0.5)
    seen = _only(fattening=1.0).measure_depth(depth, rgb, _seed())
    assert (seen <= depth + 1e-3).all()
    assert ((seen - depth).abs() > 1).any()


def test_flying_pixels_lie_between_the_surfaces_at_their_edge() -> None:
    depth, rgb = _box(50), torch.full((50, 3, 24, 96), 0.5)
    seen = _only(flying=1.0).measure_depth(depth, rgb, _seed())
    assert seen.min() > 3.99 and seen.max() < 8.01
    between = (seen > 4.1) & (seen < 7.9)
    assert between.any()
    assert not between[:, 10:14, 42:54].any() and not between[:, :, :38].any()


def test_depth_is_lost_at_edges_in_the_dark_and_in_highlights() -> None:
    depth, rgb = _step_edge(64), torch.full((64, 3, 32, 32), 0.5)
    lost = (_only(edge_loss=0.9).measure_depth(depth, rgb, _seed())[:, 2:] == 0).float().mean((0, 1))  # by column
    assert lost[15:17].mean() > 0.2 and lost[:14].max() == 0 and lost[18:].max() == 0

    flat = torch.full((64, 32, 32), 5.0)
    for value, noise in ((0.02, _only(dark_loss=0.9)), (1.0, _only(bright_loss=0.9))):
        lit = rgb.clone()
        lit[..., :16] = value
        lost = noise.measure_depth(flat, lit, _seed()) == 0
        assert lost[..., :16].float().mean() > 0.15
        assert not lost[..., 16:].any()


def test_lost_pixels_are_as_many_as_the_probability_says() -> None:
    depth, rgb = torch.full((500, 24, 24), 5.0), torch.full((500, 3, 24, 24), 0.02)
    for noise in (_only(dark_loss=0.6), _only(pixel_loss=0.6)):
        lost = noise.measure_depth(depth, rgb, _seed()) == 0
        assert lost.float().mean().item() == pytest.approx(0.6 / 3, abs=0.04)


def test_blur_kernels_hold_shift_motion_and_softness() -> None:
    shift, zero = torch.tensor([[0.0, 0.0], [1.0, -2.0], [0.5, 0.25], [0.0, 0.0]]), torch.zeros(4)
    motion, softness = torch.tensor([0.0, 0.0, 0.0, 8.0]), torch.tensor([1.0, 1.0, 2.0, 1.0])
    kernels = blur_kernels(shift, motion, zero, softness)
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(4))
    assert kernels[0, 6, 6] == 1 and kernels[1, 4, 7] == 1
    grid = torch.arange(-6.0, 7.0)
    torch.testing.assert_close((kernels.sum(1) @ grid)[:2], shift[:2, 0])
    assert (kernels[3].sum(1) > 0).sum() == 1 and (kernels[3].sum(0) > 0).sum() == 9

    picture = torch.zeros((4, 3, 24, 24))
    picture[:, :, 12, 12] = 1.0
    moved = convolve(picture, kernels)
    torch.testing.assert_close(moved[1, :, 10, 13], torch.ones(3))
    torch.testing.assert_close(moved.sum((2, 3)), torch.ones(4, 3))
    corner = torch.zeros((4, 3, 23, 37))
    corner[..., 0, 0] = 1.0
    assert convolve(corner, kernels)[..., 8:, 8:].abs().max() < 1e-5  # nothing comes back in at the other side


def test_motion_blur_keeps_the_mean_and_removes_detail() -> None:
    rgb = torch.rand((16, 3, 64, 64), generator=_seed())
    blurred = _only(motion_blur=1.0).expose(rgb, _seed())
    torch.testing.assert_close(blurred.mean((1, 2, 3)), rgb.mean((1, 2, 3)), atol=0.01, rtol=0)
    assert (blurred.std((1, 2, 3)) < rgb.std((1, 2, 3))).all()


@pytest.mark.parametrize(
    "effect", ["exposure", "white_balance", "gamma", "saturation", "contrast", "vignetting", "misaligned", "defocus"]
)
def test_each_colour_effect_shows(effect: str) -> None:
    rgb = torch.rand((16, 3, 32, 32), generator=_seed())
    plain = _only().expose(rgb, _seed())
    changed = _only(**{effect: 0.5}).expose(rgb, _seed())
    assert (changed - plain).abs().mean() > 0.005


def test_vignetting_darkens_corners_and_rolling_exposure_changes_rows() -> None:
    rgb = torch.full((64, 3, 32, 32), 0.5)
    seen = _only(vignetting=0.5).expose(rgb, _seed())
    assert (seen[..., 0, 0] <= seen[..., 16, 16]).all() and (seen[..., 0, 0] < seen[..., 16, 16]).any()
    seen = _only(rolling=1.0).expose(rgb, _seed())
    assert seen.mean(3).std(2).mean() > 10 * seen.mean(2).std(2).mean()


def test_compression_drops_detail_but_keeps_what_is_smooth() -> None:
    ramp = torch.linspace(0.1, 0.9, 32).expand(2, 3, 32, 32)
    speckled = ramp + 0.02 * torch.randn(ramp.shape, generator=_seed())
    fine, coarse = compress(speckled, torch.full((2,), 1e-4)), compress(speckled, torch.full((2,), 0.06))
    torch.testing.assert_close(fine, speckled, atol=1e-3, rtol=0)
    assert (coarse - ramp).std() < 0.8 * (speckled - ramp).std()
    odd = compress(speckled[..., :30], torch.full((2,), 0.2))
    assert torch.equal(odd[..., 24:], speckled[..., 24:30])


def test_the_camera_of_the_first_suites_is_a_function_of_the_generator_and_never_measures_less_than_nothing() -> None:
    rgb, depth = torch.rand((8, 3, 60, 80), generator=_seed()), torch.full((8, 60, 80), 0.02)
    depth[:, :, 40:] = 4.0
    depth[:, :10] = 0.0
    color, seen = PlainCamera().capture(rgb, depth, _seed(1))
    assert color.shape == rgb.shape and color.min() >= 0 and color.max() <= 1
    assert (seen >= 0).all() and (seen[:, :10] == 0).all()
    assert ((seen - 4.0).abs() < 0.3)[:, 10:, 45:].float().mean() > 0.5
    torch.testing.assert_close(PlainCamera().capture(rgb, depth, _seed(1)), (color, seen), atol=0, rtol=0)
    _, clean = PlainCamera(strength=0.0).capture(rgb, depth, _seed(1))
    torch.testing.assert_close(clean, depth, atol=1e-4, rtol=0)


def test_unregistered_colour_moves_by_up_to_five_pixels_and_depth_stays() -> None:
    rgb, depth = torch.zeros((200, 3, 32, 32)), torch.full((200, 32, 32), 5.0)
    rgb[..., 16, 16] = 1.0
    camera = _only(unregistered=1.0)
    color, seen = camera.capture(rgb, depth, _seed())
    place = color.sum(1).flatten(1).argmax(1)
    offset = torch.stack([place % 32, place // 32]) - 16
    assert offset.abs().max() == 5 and offset.min() == -5
    assert offset.float().std() > 2
    torch.testing.assert_close(seen, depth, atol=1e-4, rtol=0)
    assert torch.equal(camera.expose(rgb, _seed()), camera.expose(rgb, _seed()))


def test_a_wrong_scale_makes_all_of_a_scene_nearer_or_farther_in_proportion() -> None:
    depth, rgb = _step_edge(400), torch.full((400, 3, 32, 32), 0.5)
    ratio = _only(depth_scale=0.02).measure_depth(depth, rgb, _seed())[:, 1:] / depth[:, 1:]
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio), atol=1e-4, rtol=0)
    scale = ratio[:, 0, 0]
    assert 0.979 < scale.min() < 0.983 and 1.017 < scale.max() < 1.021
    assert 0.4 < (scale > 1).float().mean() < 0.6


def test_ragged_edges_wander_and_flat_surfaces_stay() -> None:
    depth, rgb = _box(60), torch.full((60, 3, 24, 96), 0.5)
    seen = _only(ragged=1.0).measure_depth(depth, rgb, _seed())
    changed = (seen - depth).abs() > 0.1
    assert changed[:, :, 36:44].float().mean() > 0.02, "left edge"
    assert not changed[:, :, :35].any() and not changed[:, :4].any(), "within four pixels of an edge"
    assert set(seen.round().unique().tolist()) <= {4.0, 8.0}
    rows = (seen[:, 8:16, 34:50] < 6).sum(2).float()
    assert rows.std(1).mean() > 0.2, "an edge is not straight"
    hole = depth.clone()
    hole[:, :, 60:] = 0.0
    missing = _only(ragged=1.0).measure_depth(hole, rgb, _seed())
    assert (missing[:, :, 60:] == 0).all() and missing.max() < 9


def test_displaced_pixels_move_right_and_down() -> None:
    image = torch.zeros((2, 1, 8, 8))
    image[..., 3, 4] = 1.0
    moved = displace(image, torch.tensor([[2.0, 1.0], [0.0, 0.0]]).view(2, 2, 1, 1))
    assert moved[0, 0, 4, 6] == 1 and moved.sum() == 2
    torch.testing.assert_close(moved[1], image[1])


def test_effects_that_are_off_draw_nothing() -> None:
    """Means of pictures from before there were effects whose default is 0."""
    rgb, depth = torch.rand((16, 3, 32, 32), generator=_seed(3)), _step_edge(16)
    for camera, (color_mean, depth_mean) in (
        (SimulatedCamera(), (0.47687, 4.10627)),
        (NOISY_DEPTH, (0.45681, 3.76985)),
    ):
        color, seen = camera.capture(rgb, depth, _seed(4))
        assert float(color.mean()) == pytest.approx(color_mean, abs=1e-4)
        assert float(seen.mean()) == pytest.approx(depth_mean, abs=2e-3)
