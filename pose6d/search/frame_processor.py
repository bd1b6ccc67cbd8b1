"""What every estimator does with frames, whatever it estimates: bring them to the device, run there, take the time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from pose6d.free_cores import FreeCores
from pose6d.geometry.depth import filter_depth
from pose6d.geometry.observation import Observation, observe
from pose6d.search.cuda_graphs import Recorder, TensorFunction
from pose6d.search.frame_input import HostBuffers, cut_around


class FrameProcessor(ABC):
    """Base of estimators.

    Args:
        device: where they compute.
        profile: wait for the device after each stage and use no CUDA graph, so that `timings` is exact on CUDA.

    Attributes:
        cropped: set to True for pictures that are cut out of larger ones: their principal point may lie anywhere. Else
            one that looks like that of another resolution is refused.
        timings: seconds of each stage of the last call.
    """

    def __init__(self, device: torch.device, profile: bool = False):
        self.device, self.profile, self.cropped = device, profile, False
        self.timings: dict[str, float] = {}
        self._host, self._record, self._cores = HostBuffers(device), Recorder(device), FreeCores()

    @property
    @abstractmethod
    def _parts(self) -> tuple[object, ...]:
        """Renderer and predictors; an attribute `recordable` tells of each whether it may be part of a CUDA graph."""

    def _frame_around(
        self, poses: Tensor, diameters: Sequence[float], rgb: np.ndarray, depth: np.ndarray, K: np.ndarray
    ) -> list[Tensor]:
        """`_frame` for tracking from poses (N, 4, 4); on a CPU only the part around them, for filtering takes its time
        with each pixel. A GPU does not notice, and would have to record a graph for every size."""
        if self.device.type == "cpu":
            rgb, depth, K = cut_around(rgb, depth, K, poses.numpy(), np.asarray(diameters))
        return self._frame(rgb, depth, K)

    def _frame(self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray) -> list[Tensor]:
        """What the device needs of a checked frame, on the host."""
        intrinsics = np.ascontiguousarray(K, dtype=np.float32)
        return [self._host("rgb", rgb), self._host("depth", depth), self._host("K", intrinsics)]

    def _observe(self, rgb: Tensor, depth: Tensor, K: Tensor) -> Observation:
        """The frame with its depth filtered."""
        with self._stage("filter depth"):
            return observe(rgb, filter_depth(depth), K)

    def _run(self, name: Hashable, function: TensorFunction, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        """A function of tensors on the device; on CUDA as a graph, if its parts can be recorded.

        Args:
            name: tells functions apart; the same name must mean the same function.
            inputs: on the host, from `_frame`, or on the device.
        """
        graphed = self.device.type == "cuda" and not self.profile
        if graphed and all(getattr(part, "recordable", False) for part in self._parts):
            with self._stage("launch"):
                return self._record(name, function, inputs)
        with self._stage("upload"):
            inputs = [x.to(self.device, non_blocking=True) for x in inputs]
        if self.device.type == "cuda":
            return function(*inputs)
        with self._cores:
            return function(*inputs)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.profile and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._cores.look()
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start
