"""The pinhole camera: projection, back-projection, and the crop windows that the networks look through.

Camera axes are OpenCV's (x right, y down, z forward). Integer pixel coordinates are pixel centres, so the image covers
-0.5 .. width - 0.5. A crop of an image taken with K is an image taken with `transform @ K`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import grid_sample

from pose6d.cuda_kernels import available, blocks_for, length, load_kernels
from pose6d.errors import SceneError

_FORM = "a 3x3 matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] is needed"

# A crop's centre is projected from at least this depth (metres), so that a hypothesis which has drifted behind the
# camera gives an empty crop instead of a division by zero.
_NEAREST = 1e-3

# Width of the image over the focal length: 168 degrees.
_WIDEST_VIEW = 19.0
# Half the width over the focal length, that is 15 degrees in all: whole pictures of depth cameras show more.
_NARROWEST_HALF_VIEW = 0.13

# Widest crop window in pixels: far beyond any image, and small enough that window edges stay exact in float32.
_WIDEST = 1e6

# Coordinates this close (pixels) above a tie between two pixels count as the tie, so that float rounding, which
# differs between devices, does not decide which of two neighbours "nearest" takes.
_TIE = 1e-3


def backproject(depth: torch.Tensor, K: torch.Tensor) -> torch.Tensor:
    """Camera-space point of every pixel.

    Args:
        depth: (..., H, W) metres along the camera axis, 0 where missing.
        K: (3, 3), or (..., 3, 3) with the leading dimensions of the depth.

    Returns:
        (..., H, W, 3) metres, camera axes; 0 where the depth is 0.
    """
    height, width = depth.shape[-2:]
    K = K.to(depth.dtype)
    v = torch.arange(height, dtype=depth.dtype, device=depth.device)[:, None]
    u = torch.arange(width, dtype=depth.dtype, device=depth.device)
    fx, skew, cx = (K[..., 0, i, None, None] for i in range(3))
    fy, cy = (K[..., 1, i, None, None] for i in (1, 2))
    y = (v - cy) / fy
    x = (u - cx - skew * y) / fx
    return torch.stack([x * depth, y * depth, depth], dim=-1)


def distant_camera(size: int, diameters_away: float, window: float, device: torch.device) -> torch.Tensor:
    """(3, 3) intrinsics of a square picture of a thing in its middle, from far away.

    Args:
        size: pixels, side of the picture.
        diameters_away: how far, in diameters of the thing.
        window: the picture's side over the diameter.
    """
    focal, half = diameters_away * size / window, (size - 1) / 2
    return torch.tensor([[focal, 0, half], [0, focal, half], [0, 0, 1]], device=device)


def crop_transforms(
    poses: torch.Tensor, K: torch.Tensor, diameter: float | torch.Tensor, ratio: float, size: int
) -> torch.Tensor:
    """Square window around each hypothesis, as the published method cuts it (arXiv 2312.08344, section 3.2).

    The window is as wide as a disc of `diameter * ratio`, parallel to the image at the hypothesis' centre, appears.
    Its four edges are rounded to whole pixels, halves to even. Crop pixel j looks at image pixel
    `left + j * (right - left) / size`. No value is read back from the device.

    Args:
        poses: (N, 4, 4) object in camera, metres; only the translation matters.
        K: (3, 3) or (N, 3, 3).
        diameter: metres, one for all or (N,).
        ratio: window width over the diameter's appearance (1.2 for the refiner, 1.1 for the scorer).
        size: width and height of the crop, pixels.

    Returns:
        (N, 3, 3) pixel transforms, image to crop: a scale and a translation.
    """
    t = poses[..., :3, 3]
    x, y, z = t[..., 0], t[..., 1], t[..., 2].clamp(min=_NEAREST)
    K = K.to(poses.dtype)
    radius = diameter * ratio / 2
    across = (K[..., 0, 0] * radius / z).abs()
    down = torch.maximum((K[..., 1, 1] * radius / z).abs(), (K[..., 0, 1] * radius / z).abs())
    half = torch.maximum(across, down).clamp(max=_WIDEST)
    u = ((K[..., 0, 0] * x + K[..., 0, 1] * y) / z + K[..., 0, 2]).clamp(-_WIDEST, _WIDEST)
    v = (K[..., 1, 1] * y / z + K[..., 1, 2]).clamp(-_WIDEST, _WIDEST)
    left, right = (u - half).round(), (u + half).round()
    top, bottom = (v - half).round(), (v + half).round()
    scale_x = size / (right - left).clamp(min=1)
    scale_y = size / (bottom - top).clamp(min=1)
    zero, one = torch.zeros_like(left), torch.ones_like(left)
    rows = [scale_x, zero, -left * scale_x, zero, scale_y, -top * scale_y, zero, zero, one]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def crop_windows(
    poses: torch.Tensor, K: torch.Tensor, diameter: float | torch.Tensor, ratio: float, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`crop_transforms`, and the intrinsics of the crops, without a gradient: by one kernel on a GPU, and by a compiled
    loop on a CPU.

    Args:
        poses: (N, 4, 4) object in camera, metres; only the translation matters.
        K: (3, 3), or (N, 3, 3).
        diameter, ratio, size: see `crop_transforms`.

    Returns:
        (N, 3, 3) pixel transforms, image to crop; and (N, 3, 3) `transforms @ K`.
    """
    if K.ndim == 2 and poses.device.type == "cpu":
        return _crop_windows_loops(poses, K, diameter, ratio, size)
    if K.ndim > 2 or not available(poses.device):
        transforms = crop_transforms(poses, K, diameter, ratio, size)
        return transforms, transforms @ K.to(transforms.dtype)
    transforms, crop_K = torch.empty((2, len(poses), 3, 3), dtype=torch.float32, device=poses.device).unbind()
    if len(poses):
        (kernel,) = load_kernels(
            "pose6d.geometry", "camera.cu", ("crop_windows",), poses.get_device(), ("--fmad=false",)
        )
        poses, K = poses.float().contiguous(), K.float().contiguous()
        kernel(
            blocks_for(len(poses)),
            *(poses, len(poses), K, *length(diameter, ratio / 2, poses), size, transforms, crop_K),
        )
    return transforms, crop_K


def _crop_windows_loops(
    poses: torch.Tensor, K: torch.Tensor, diameter: float | torch.Tensor, ratio: float, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`crop_windows` on a CPU."""
    from pose6d.geometry import camera_loops  # imports numba, which a GPU does not need

    windows = torch.empty((2, len(poses), 3, 3))
    radius = (torch.as_tensor(diameter, dtype=torch.float32) * (ratio / 2)).expand(len(poses))
    given = (x.detach().float().contiguous().numpy() for x in (poses, K, radius))
    limits = (np.float32(x) for x in (size, _NEAREST, _WIDEST))
    transforms, crop_K = windows
    camera_loops.crop_windows(*given, *limits, transforms.numpy(), crop_K.numpy())
    return transforms, crop_K


def crop_images(images: torch.Tensor, transforms: torch.Tensor, size: int, mode: str = "bilinear") -> torch.Tensor:
    """Cut N crops by one sampled gather; the image is never copied per crop.

    Args:
        images: (C, H, W), from which all crops are taken, or (B, C, H, W) with N a multiple of B, where crops
            i*N/B .. (i+1)*N/B - 1 are taken from image i (one image per crop where B = N). Any dtype; other than
            float32 and float64 is converted to float32.
        transforms: (N, 3, 3) image pixels to crop pixels, scale and translation only, from `crop_transforms`.
        size: width and height of the crops, pixels.
        mode: "bilinear" for colours; "nearest" for maps that must not be mixed across edges (xyz, depth, labels).

    Returns:
        (N, C, size, size), 0 outside the image.
    """
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode {mode!r} is unknown: use 'bilinear' or 'nearest'")
    if images.dtype not in (torch.float32, torch.float64):
        images = images.float()
    n = transforms.shape[0]
    batch = 1 if images.ndim == 3 else images.shape[0]
    if batch == 0 or n % batch:
        raise ValueError(f"{n} crops cannot be shared evenly among {batch} images")
    height, width = images.shape[-2:]
    grid = _sample_grid(transforms.to(images.dtype), size, height, width, nearest=mode == "nearest")
    if images.ndim == 3:
        images = images.expand(n, *images.shape)
    elif batch != n:
        # Crops of one image are stacked into one tall grid: expanding B > 1 images would have to copy them.
        grid = grid.reshape(batch, -1, size, 2)
    # align_corners must stay False: the other convention lets CUDA take the cuDNN path, which copies expanded inputs.
    crops = grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)
    if crops.shape[0] != n:
        crops = crops.unflatten(2, (-1, size)).transpose(1, 2).flatten(0, 1)
    return crops


def crop_coverage(transforms: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
    """Which pixels of N crops show the image, as `crop_images` takes the nearest ones.

    Args:
        transforms: (N, 3, 3) image pixels to crop pixels, scale and translation only.
        size: width and height of the crops, pixels.
        height, width: of the image, pixels.

    Returns:
        (N, size, size) bool.
    """
    u, v = nearest_pixels(*source_pixels(transforms, size))
    return ((v >= 0) & (v < height))[:, :, None] & ((u >= 0) & (u < width))[:, None, :]


def check_intrinsics(
    K: np.ndarray | torch.Tensor | None, height: int, width: int, source: str = "K", *, cropped: bool = False
) -> np.ndarray:
    """Intrinsics as (3, 3) float64; those that cannot belong to an image of this size are refused.

    Intrinsics of another resolution have a principal point that is far from the image's centre in the same direction
    along both axes, or outside. So may those of a part cut out of a larger image, which are accepted where they cannot
    be mistaken for the former, and else if `cropped` says so.

    Args:
        K: 3x3 intrinsics, pixels.
        height: of the image, pixels.
        width: of the image, pixels.
        source: the file or argument to name in the message.
        cropped: the images are cut out of larger ones: the principal point may be anywhere.

    Raises:
        SceneError: K is missing, not 3x3, not finite, not of pinhole form, not in pixels, for another resolution, or
            for an image that is turned by 90 degrees.
    """
    if K is None:
        raise SceneError(f"{source}: no camera intrinsics; {_FORM}")
    try:
        values = np.asarray(K.detach().cpu() if isinstance(K, torch.Tensor) else K, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SceneError(f"{source}: intrinsics are no matrix of numbers ({error}); {_FORM}") from error
    if values.shape != (3, 3):
        raise SceneError(f"{source}: intrinsics of shape {values.shape}; {_FORM}")
    if not np.isfinite(values).all():
        raise SceneError(f"{source}: intrinsics hold values that are not finite: {values.tolist()}")
    fx, fy, cx, cy = values[0, 0], values[1, 1], values[0, 2], values[1, 2]
    if np.abs(values[2] - (0.0, 0.0, 1.0)).max() > 1e-5 or abs(values[1, 0]) > 1e-6:
        raise SceneError(f"{source}: {values.tolist()} is no pinhole matrix; {_FORM}. Is it transposed?")
    if fx <= 0 or fy <= 0:
        raise SceneError(f"{source}: focal lengths fx={fx:g}, fy={fy:g}; both must be positive, in pixels")
    if width > _WIDEST_VIEW * fx or height > _WIDEST_VIEW * fy:
        raise SceneError(
            f"{source}: focal lengths fx={fx:g}, fy={fy:g} for {width}x{height} pixels; no lens sees that much. Are "
            "they in millimetres, or in parts of the width? They are wanted in pixels, as the principal point is"
        )
    across, down = (cx + 0.5) / width, (cy + 0.5) / height
    if cropped or max(abs(across - 0.5), abs(down - 0.5)) < 0.12:
        return values
    misfit = f"{source}: the principal point ({cx:g}, {cy:g}) does not fit an image of {width}x{height} pixels; "
    opt_out = (
        "If K is right and the image is a part of a larger one, pass --cropped (in Python, set cropped of "
        "open_scene and of the estimator to True)"
    )
    if max(abs((cx + 0.5) / height - 0.5), abs((cy + 0.5) / width - 0.5)) < 0.06:
        raise SceneError(
            f"{misfit}it fits one of {height}x{width}. Are the images turned by 90 degrees (as their EXIF orientation "
            f"says?), and K is of those that are not? Turn colour, depth and masks back, or give K for them. {opt_out}"
        )
    if _shows_other_resolution(across, down) and min(cx / fx, cy / fy) > _NARROWEST_HALF_VIEW:
        raise SceneError(
            f"{misfit}these intrinsics look like those of an image of about {2 * cx:.0f}x{2 * cy:.0f}. Is K for "
            f"another resolution? Multiply its first row by the ratio of widths and its second row by the ratio of "
            f"heights. {opt_out}"
        )
    return values


def _shows_other_resolution(across: float, down: float) -> bool:
    """Whether a principal point, in widths and heights of the image, is off centre alike on both axes, and far."""
    nearer, farther = min(across, down), max(across, down)
    return farther < 0.35 or nearer > 0.65 or (nearer > 0.55 and farther > 1)


def describe_intrinsics(K: np.ndarray) -> str:
    """Intrinsics (3, 3) in one line, for people."""
    return f"fx {K[0, 0]:g}, fy {K[1, 1]:g}, cx {K[0, 2]:g}, cy {K[1, 2]:g}"


def unusual_intrinsics(K: np.ndarray, height: int, width: int) -> list[str]:
    """What people may want to check about intrinsics (3, 3) that are accepted; [] where all is as usual."""
    fx, fy, cx, cy, skew = (float(K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2), (0, 1)))
    across, down = (cx + 0.5) / width - 0.5, (cy + 0.5) / height - 0.5
    found = []
    if max(abs(across), abs(down)) > 0.5:
        found.append("the principal point lies outside the picture, as if it were cut out of a larger one")
    elif max(abs(across), abs(down)) > 0.15:
        found.append("the principal point is far from the middle of the picture")
    if abs(fx / fy - 1) > 0.01:
        found.append(f"the pixels are not square (fx / fy = {fx / fy:.3f}); are fx and fy swapped?")
    if skew:
        found.append(f"the axes are skewed by {skew:g}")
    return found


def source_pixels(transforms: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns u and rows v of the image (N, size) that the columns and rows of N crops look at, pixels."""
    steps = torch.arange(size, dtype=transforms.dtype, device=transforms.device)
    u = (steps - transforms[:, 0, 2, None]) / transforms[:, 0, 0, None]
    v = (steps - transforms[:, 1, 2, None]) / transforms[:, 1, 1, None]
    return u, v


def nearest_pixels(u: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole pixels; near a tie the right and lower one."""
    return (u + (0.5 + _TIE)).floor(), (v + (0.5 + _TIE)).floor()


def _sample_grid(transforms: torch.Tensor, size: int, height: int, width: int, *, nearest: bool) -> torch.Tensor:
    """(N, size, size, 2) sampling positions in the units of grid_sample: -1 and 1 are the image's outer edges."""
    u, v = source_pixels(transforms, size)
    if nearest:
        u, v = nearest_pixels(u, v)
    x = (2 * u + 1) / width - 1
    y = (2 * v + 1) / height - 1
    n = transforms.shape[0]
    grid = torch.empty(n, size, size, 2, dtype=transforms.dtype, device=transforms.device)
    grid[..., 0] = x[:, None, :]
    grid[..., 1] = y[:, :, None]
    return grid
