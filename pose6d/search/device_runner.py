"""What every estimator does with frames, whatever it estimates: bring them to the device, run there, take the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pose6d.geometry.depth import filter_depth
from pose6d.geometry.observation import Observation, observe
from pose6d.pieces import pieces_only
from pose6d.search.cuda_graphs import Recorder


class HostBuffers:
    """Where the arrays of a frame wait for the device to fetch them, so that the host need not wait for the copy.

    Page-locked memory is slow to allocate and is kept for the next frame: a call that uploads must wait for its result
    before the next one begins.

    Args:
        device: without CUDA, nothing is copied.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._buffers: dict[str, Tensor] = {}

    def __call__(self, name: str, array: np.ndarray) -> Tensor:
        """A host tensor of the array's values that a device can fetch."""
        values = torch.from_numpy(array)
        if self._device.type != "cuda":
            return values
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != values.shape or buffer.dtype != values.dtype:
            buffer = self._buffers[name] = torch.empty_like(values, pin_memory=True)
        np.copyto(buffer.numpy(), array)  # by one thread: to wake PyTorch's others takes longer than they save
        return buffer


class DeviceRunner:
    """Runs the functions of an estimator on its device.

    Args:
        device: where they compute.
        parts: renderers and networks; on CUDA, functions are recorded as graphs if all of these are `recordable`.
        profile: wait for the device after each stage and record nothing, so that `timings` is exact on CUDA.

    Attributes:
        timings: seconds of each stage since it was last emptied.
    """

    def __init__(self, device: torch.device, parts: Sequence[Any], profile: bool = False):
        self.device, self.timings = device, dict[str, float]()
        self.upload = HostBuffers(device)
        self._wait = profile and device.type == "cuda"
        recorded = device.type == "cuda" and not profile and all(part.recordable for part in parts)
        self._recorder = Recorder(device) if recorded else None

    def upload_frame(self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray) -> list[Tensor]:
        """What the device needs of a checked frame, on the host."""
        intrinsics = np.ascontiguousarray(K, dtype=np.float32)
        return [self.upload("rgb", rgb), self.upload("depth", depth), self.upload("K", intrinsics)]

    def observe(self, rgb: Tensor, depth: Tensor, K: Tensor) -> Observation:
        """The frame with its depth filtered."""
        with self.stage("filter depth"):
            return observe(rgb, filter_depth(depth), K)

    def run(
        self, function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], *options: Any, size: Any = None
    ) -> tuple[Tensor, ...]:
        """`function(*inputs, *options)` on the device; on CUDA as a graph, if that can be recorded.

        Args:
            function: of tensors on the device; the same name must mean the same function.
            inputs: on the host, as `upload` gives them, or on the device.
            options: further arguments. With a callback among them nothing is recorded, for a graph calls nobody.
            size: of the inputs, where they come in a few: a graph is kept for each, as for each of the options. Else
                inputs of another shape replace it.
        """
        if self._recorder is not None and not any(callable(option) for option in options):
            with self.stage("launch"):
                name = (function.__name__, size, *options)
                return self._recorder(name, lambda *tensors: function(*tensors, *options), inputs)
        with self.stage("upload"):
            inputs = [x.to(self.device, non_blocking=True) for x in inputs]
        if self.device.type == "cuda":
            return function(*inputs, *options)
        with pieces_only():
            return function(*inputs, *options)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that is spent inside to `timings`."""
        start = time.perf_counter()
        yield
        if self._wait:
            torch.cuda.synchronize(self.device)
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start
