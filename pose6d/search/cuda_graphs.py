"""CUDA graphs: hundreds of kernels recorded once and then launched as one.

Launching the kernels of one tracking step takes the host longer than running them takes the GPU.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

TensorFunction = Callable[..., tuple[Tensor, ...]]

_WARM_UP = 1  # calls outside the graph, in which kernels are compiled and chosen, and their memory set aside

_branching = contextvars.ContextVar("branching", default=False)  # whether functions run side by side

_log = logging.getLogger(__name__)


class GraphedFunction:
    """A function of tensors, recorded as a CUDA graph.

    The function must not wait for the device and must take inputs of constant shape; tensors that it reads without
    being given them must keep their place.

    Args:
        function: returns tensors on the device.
        inputs: examples, on the device or in page-locked memory; their values are copied, their shapes stay.
        device: a CUDA device.
    """

    def __init__(self, function: TensorFunction, inputs: Sequence[Tensor], device: torch.device):
        self._inputs = [x.detach().to(device, copy=True) for x in inputs]
        current, stream = torch.cuda.current_stream(device), _stream(device)
        stream.wait_stream(current)
        self._graph = torch.cuda.CUDAGraph()
        with _branches():  # in the warm-up, too: what libraries set aside for a stream must outlive the graph
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    function(*self._inputs)
            current.wait_stream(stream)
            with torch.cuda.graph(self._graph, pool=_memory(device), stream=stream):
                self._outputs = function(*self._inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The function's results for other values; the host does not wait for them."""
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given, non_blocking=True)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


def side_by_side(*functions: Callable[[], Any]) -> list[Any]:
    """The results of functions that do not need each other's: in a graph they run beside each other, else in turn.

    Small kernels leave most of a GPU idle; those of another branch fill it. Nothing that a function is given may be
    changed by another one, and the caller must hold it until the results are there.
    """
    if not _branching.get():
        return [function() for function in functions]
    current, (first, *others) = torch.cuda.current_stream(), functions
    streams = [_side_stream(current, index) for index in range(len(others))]
    for stream in streams:
        stream.wait_stream(current)
    results = [first()]
    for stream, function in zip(streams, others, strict=True):
        with torch.cuda.stream(stream):
            results.append(function())
    for stream in streams:
        current.wait_stream(stream)
    return results


@contextlib.contextmanager
def _branches() -> Iterator[None]:
    token = _branching.set(True)
    try:
        yield
    finally:
        _branching.reset(token)


@functools.cache
def _side_stream(main: torch.cuda.Stream, index: int) -> torch.cuda.Stream:
    """The same one at each fork of a stream, so that its memory is used again, after what was there has been read."""
    return torch.cuda.Stream(main.device)


@functools.cache
def _memory(device: torch.device) -> Any:
    """One pool for all graphs of a device: none runs beside another, and each one's results are copied out at once."""
    return torch.cuda.graph_pool_handle()


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One stream to record all graphs of a device: PyTorch reuses a pool's memory only on the stream that freed it."""
    return torch.cuda.Stream(device)


def _leave_recording(device: torch.device) -> None:
    """After a recording that failed, PyTorch's generator of random numbers believes itself in it, and draws none; and
    so does its memory, in which nothing more could be recorded."""
    index = torch.cuda.current_device() if device.index is None else device.index
    generator = torch.cuda.default_generators[index]
    generator.graphsafe_set_state(generator.clone_state())
    with contextlib.suppress(RuntimeError):  # it has been left
        torch._C._cuda_endAllocateToPool(index, _memory(device))
    _memory.cache_clear()


class Recorder:
    """Runs functions of tensors on one CUDA device, each as a graph that its second call records.

    Recording takes as long as a few calls; who calls a function once does not wait for it.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._recorded: dict[Hashable, tuple[Hashable, TensorFunction | None]] = {}

    def __call__(self, name: Hashable, function: TensorFunction, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """`function(*inputs)`; for inputs of new shapes all begins anew, and the graph of the old ones is dropped.

        Args:
            name: tells functions apart; the same name must mean the same function.
        """
        shapes = tuple((x.shape, x.dtype) for x in inputs)
        held = self._recorded.get(name)
        if held is None or held[0] != shapes:
            self._recorded[name] = (shapes, None)
            return self._plain(function, inputs)
        recorded = held[1] or self._record(function, inputs)
        self._recorded[name] = (shapes, recorded)
        return recorded(*inputs)

    def _plain(self, function: TensorFunction, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return function(*(x.to(self._device, non_blocking=True) for x in inputs))

    def _record(self, function: TensorFunction, inputs: Sequence[Tensor]) -> TensorFunction:
        try:
            return GraphedFunction(function, inputs, self._device)
        except RuntimeError as error:
            _leave_recording(self._device)
            _log.warning("this runs without a CUDA graph, which is slower: %s", error)
            return lambda *given: self._plain(function, given)
