"""Cleaning depth maps in metric units, and refusing those that cannot be right.

Both filters follow the published method (arXiv 2312.08344: 5x5 erosion, then a 5x5 bilateral filter) with two changes.
Its tolerances are 1 mm and 10 mm at any distance; here they grow with the noise of a stereo sensor, so that a wall
three metres away is not eroded as noise, nor a 1 mm step of a quantised map taken for an edge. And its bilateral
filter compares with the mean of the window, which erases a band along every large depth step; here each pixel is
compared with itself, and with the mean only where it is a hole.

The filters run on the device of their input without reading anything back. A compiled loop replaces the tensor
expressions on a CPU, and the kernels of `depth.cu` on a GPU with CuPy; `tests/test_depth.py` and
`tests/test_fused_kernels.py` hold them against each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import pad

from pose6d.cuda_kernels import available, blocks_for, load_kernels
from pose6d.errors import FrameError

NEAR = 0.001  # metres; a smaller depth means "missing"
FAR = 65.0  # metres; a larger depth is an error or means "missing": 16 bits of millimetres end at 65.535 m

# Depth differences up to FLOOR + GROWTH * z^2 are noise. A stereo camera's error is z^2 * e / (f * b); for e = 0.08 px
# of disparity, f = 640 px and b = 50 mm it is 2.5 mm at 1 m, of which four times is allowed. The floor is two
# steps of a map stored in millimetres.
FLOOR = 0.002  # metres
GROWTH = 0.01  # per metre

SUPPORT = 0.2  # share of the window that must agree with a pixel for it to stay
FILL = 0.5  # share of the window that must agree with its own mean for a hole to be filled
SIGMA = 2.0  # pixels, width of the smoothing kernel
ROUNDING = 1e-4  # keeps float rounding from deciding a count that sits exactly on its limit

_MEDIAN_RANGE = (0.02, 20.0)  # metres, of scenes that a depth camera can see objects in
_COARSE = 0.0095  # metres, step of a map that was rounded by mistake: to centimetres, or to metres
_FEWEST_PIXELS = 4  # valid depths under a mask below which no pose can be found


def depth_tolerance(depth: torch.Tensor) -> torch.Tensor:
    """Largest depth difference that is still noise of the same surface, metres, for depths in metres (any shape)."""
    return FLOOR + GROWTH * depth * depth


def erode_depth(depth: torch.Tensor, radius: int = 2) -> torch.Tensor:
    """Remove pixels that their neighbourhood does not support: flying pixels at edges, specks, thin remains.

    A pixel is removed where less than a fifth of the window's pixels inside the image hold a depth within
    `depth_tolerance` of it.

    Args:
        depth: (..., H, W) float32 metres, 0 (or negative, NaN, or beyond 65 m) where missing.
        radius: of the square window, pixels.

    Returns:
        (..., H, W) metres, 0 where missing or removed.
    """
    return _filter("erode", depth, radius, (NEAR, FAR, FLOOR, GROWTH, SUPPORT, ROUNDING), _erode_windows)


def smooth_depth(depth: torch.Tensor, radius: int = 2) -> torch.Tensor:
    """Average each pixel with the neighbours on its own surface, and fill holes that one surface surrounds.

    The weights are Gaussian in the image (2 px) and cut off at `depth_tolerance`. A missing pixel is filled where at
    least half of its window lies within the tolerance of the window's mean.
    Arguments as of `erode_depth`; (..., H, W) metres, 0 where missing.
    """
    constants = (NEAR, FAR, FLOOR, GROWTH, FILL, ROUNDING, -1 / (2 * SIGMA**2))
    return _filter("smooth", depth, radius, constants, _smooth_windows)


def filter_depth(depth: torch.Tensor, radius: int = 2) -> torch.Tensor:
    """Erode, then smooth; the arguments and the result are those of the two filters."""
    return smooth_depth(erode_depth(depth, radius), radius)


def is_measured(depth: np.ndarray) -> np.ndarray:
    """Where a depth map says something, in whatever unit it is: bool of its shape.

    Missing are 0, negative values, NaN and infinity, and the largest value of 16 bits (65535, or 65.535 m of
    millimetres), which many recorders write where nothing was measured.
    """
    return (depth > 0) & (depth < np.inf) & (np.abs(depth - 65.535) > 5e-4) & (depth != 65535)


def check_depth(
    depth: np.ndarray | torch.Tensor, mask: np.ndarray | torch.Tensor | None = None, source: str = "depth"
) -> None:
    """Refuse a depth map that cannot be used, before it turns into a wrong pose.

    Args:
        depth: (H, W) metres; see `is_measured` for what is missing.
        mask: (H, W) bool, where the object is; the whole image if omitted.
        source: the file or argument to name in the message.

    Raises:
        FrameError: not a 2D map, a mask of another size or without a pixel, no depth under the mask, or a median that
            shows another unit than metres.
    """
    values = _to_numpy(depth)
    if values.ndim != 2 or values.size == 0:
        raise FrameError(f"{source}: depth of shape {values.shape}; one value per pixel (H, W) is needed")
    looked_at, place = values, "in the image"
    if mask is not None:
        inside = _to_numpy(mask).astype(bool)
        if inside.shape != values.shape:
            raise FrameError(
                f"{source}: the mask is {_size(inside)} and the depth {_size(values)} pixels; both must be of one size"
            )
        looked_at = values[inside]
        if not len(looked_at):
            raise FrameError(f"{source}: the mask is empty; it must be non-zero where the object is seen")
        place = f"under the mask of {len(looked_at)} pixels"
    measured = looked_at[is_measured(looked_at)]
    count = len(measured)
    if count == 0 or (mask is not None and count < _FEWEST_PIXELS):
        raise FrameError(
            f"{source}: {count} valid depth values {place} (0, 65535, negative, NaN and infinity count as missing); is "
            "depth aligned to colour, and is the object within the sensor's range and not transparent or mirror-like?"
        )
    median = float(np.median(measured))
    low, high = _MEDIAN_RANGE
    if median > high:
        raise FrameError(
            f"{source}: the median depth {place} is {median:g} m; metres are needed. "
            "Is it in millimetres? Divide by 1000, or check the depth scale (--depth_scale 0.001 for a recording in "
            "millimetres, 1e-06 for one in micrometres)"
        )
    if median < low:
        raise FrameError(
            f"{source}: the median depth {place} is {median:g} m, that is {median * 1000:.3g} mm; metres are needed. "
            "Was it divided by the depth scale twice? (--depth_scale 1 for a recording in metres)"
        )


def doubt_rounded_depth(depth: np.ndarray) -> str:
    """What is odd about a map (H, W), metres, that has been rounded to multiples of a coarse step; "" of others."""
    sample = depth[::2, ::2]
    values = np.unique(sample[is_measured(sample)]).astype(np.float64)
    step = float(np.diff(values).min()) if len(values) > 1 else 0.0
    if step < _COARSE or np.abs(values / step - np.round(values / step)).max() > 0.01:
        return ""
    return (
        f"depth comes in steps of {step:.3g} m: was it rounded when it was saved? Poses need millimetres: save it as "
        "16 bits of millimetres, or as floats"
    )


def _to_numpy(values: np.ndarray | torch.Tensor) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _size(image: np.ndarray) -> str:
    return "x".join(str(n) for n in image.shape[::-1])


def _filter(
    name: str,
    depth: torch.Tensor,
    radius: int,
    constants: tuple[float, ...],
    windows: Callable[[torch.Tensor, int], torch.Tensor],
) -> torch.Tensor:
    """Apply a filter to depth (..., H, W).

    Args:
        name: of the compiled loop in `depth_loops` for a CPU, and of the kernel in `depth.cu`.
        constants: what both need besides the radius.
        windows: the filter of one (H, W) map as tensor expressions, for a GPU without CuPy.
    """
    maps = depth.detach().to(torch.float32).reshape(-1, *depth.shape[-2:]).contiguous()
    if depth.device.type == "cpu":
        from pose6d.geometry import depth_loops  # imports numba, which a GPU does not need

        loop = getattr(depth_loops, name)
        out = torch.stack([torch.from_numpy(loop(image.numpy(), radius, constants)) for image in maps])
    elif available(depth.device):
        out = torch.empty_like(maps)
        if maps.numel():
            # Fused multiplications and additions would decide differently at the limits than tensor expressions do.
            options = ("--fmad=false",)
            kernels = load_kernels("pose6d.geometry", "depth.cu", ("erode", "smooth"), maps.get_device(), options)
            kernel = kernels[name == "smooth"]
            kernel(blocks_for(maps.numel()), maps, maps.numel(), *maps.shape[-2:], radius, *constants, out)
    else:
        out = torch.stack([windows(image, radius) for image in maps])  # one by one: it holds every window of a map
    return out.reshape(depth.shape)


def _windows(depth: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """View (H, W, side, side) of every window, -1 outside the image; and (H, W) how many of its pixels are inside."""
    side = 2 * radius + 1
    view = pad(depth, (radius,) * 4, value=-1.0).unfold(0, side, 1).unfold(1, side, 1)
    counts = []
    for n in depth.shape:
        i = torch.arange(n, dtype=torch.float32, device=depth.device)
        counts.append(i.clamp(max=radius) + (n - 1 - i).clamp(max=radius) + 1)
    return view, counts[0][:, None] * counts[1]


def _valid(depth: torch.Tensor) -> torch.Tensor:
    return (depth >= NEAR) & (depth < FAR)


def _erode_windows(depth: torch.Tensor, radius: int) -> torch.Tensor:
    """`erode_depth` of one (H, W) map as tensor expressions."""
    window, total = _windows(depth, radius)
    agrees = _valid(window) & ((window - depth[..., None, None]).abs() <= depth_tolerance(depth)[..., None, None])
    keep = _valid(depth) & (agrees.sum((-1, -2)) >= SUPPORT * total - ROUNDING)
    return torch.where(keep, depth, 0.0)


def _smooth_windows(depth: torch.Tensor, radius: int) -> torch.Tensor:
    """`smooth_depth` of one (H, W) map as tensor expressions."""
    window, total = _windows(depth, radius)
    valid, centre = _valid(window), _valid(depth)
    known = torch.where(valid, window, 0.0)
    mean = known.sum((-1, -2)) / valid.sum((-1, -2)).clamp(min=1)
    reference = torch.where(centre, depth, mean)
    agrees = valid & ((window - reference[..., None, None]).abs() <= depth_tolerance(reference)[..., None, None])
    i = torch.arange(-radius, radius + 1, dtype=torch.float32, device=depth.device)
    kernel = torch.exp(-(i[:, None] ** 2 + i**2) / (2 * SIGMA**2))
    weight = torch.where(agrees, kernel, 0.0)
    # Averaging the differences instead of the depths keeps float32 rounding below a micrometre.
    offset = (weight * torch.where(agrees, window - reference[..., None, None], 0.0)).sum((-1, -2))
    result = reference + offset / weight.sum((-1, -2)).clamp(min=1e-6)
    return torch.where(centre | (agrees.sum((-1, -2)) >= FILL * total - ROUNDING), result, 0.0)
