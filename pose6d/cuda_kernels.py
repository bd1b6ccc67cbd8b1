"""The project's CUDA kernels: `.cu` files beside the modules that launch them, compiled at first use by CuPy.

A launch goes to PyTorch's current stream, allocates nothing and does not wait for the device, so that after one
warm-up call, which compiles, it can be captured in a CUDA graph.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from typing import Any

import numpy as np
import torch

from pose6d.errors import MissingDependencyError

BLOCK = 256  # threads of every block, and defined in every .cu file

# A launch has twenty arguments, and to make a numpy scalar takes longer than to find the one made before.
_int32, _float32, _pointer = (functools.lru_cache(maxsize=4096)(kind) for kind in (np.int32, np.float32, np.uint64))


class Kernel:
    """One kernel of a .cu file, compiled for one GPU."""

    def __init__(self, function: Any, device_index: int) -> None:
        self._function = function
        self._index = device_index

    def __call__(self, blocks: int, *values: torch.Tensor | int | float | None, shared_bytes: int = 0) -> None:
        """Launch on PyTorch's current stream of the kernel's GPU.

        Args:
            blocks: how many blocks of BLOCK threads, at least 1.
            values: the kernel's arguments: tensors as pointers to their first element (None as a null pointer), int as
                int and float as float.
            shared_bytes: of dynamic shared memory for each block, at most 48 KiB.
        """
        arguments = tuple(map(_argument, values))
        stream = _stream(self._index, torch._C._cuda_getCurrentRawStream(self._index))
        if torch.cuda.current_device() == self._index:
            with stream:
                self._function((blocks,), (BLOCK,), arguments, shared_mem=shared_bytes)
        else:
            with load_cupy().cuda.Device(self._index), stream:
                self._function((blocks,), (BLOCK,), arguments, shared_mem=shared_bytes)


def length(diameter: float | torch.Tensor, share: float, like: torch.Tensor) -> tuple[torch.Tensor | None, int, float]:
    """A share of the diameter as kernels take it: pointer and stride of the samples' own diameters, and a factor.

    Args:
        diameter: metres, one for all or (N,).
        share: of it.
        like: (N, ...), what the samples are read from.

    Raises:
        ValueError: there are not as many diameters as samples, or they are on another device.
    """
    if not isinstance(diameter, torch.Tensor):
        return None, 0, float(diameter * share)
    diameters = diameter.float().reshape(-1)
    one = len(diameters) == 1
    check_inputs(like.device, diameter=(diameters, (1 if one else len(like),)))
    return diameters, 0 if one else diameters.stride(0), float(share)


def strided(*tensors: torch.Tensor) -> list[torch.Tensor | int]:
    """Tensors as kernels take them that read any layout: each, then its strides in elements."""
    values: list[torch.Tensor | int] = []
    for tensor in tensors:
        values += [tensor, *tensor.stride()]
    return values


def check_inputs(device: torch.device, **tensors: tuple[torch.Tensor, tuple[int, ...]]) -> None:
    """Refuse tensors of another shape, or on another device: a kernel would read whatever lies behind them.

    Raises:
        ValueError: names the tensor.
    """
    for name, (tensor, shape) in tensors.items():
        if tensor.shape != shape or tensor.device != device:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} on {tensor.device}, expected {tuple(shape)} on {device}, as the poses"
            )


def blocks_for(threads: int) -> int:
    """Blocks that hold at least so many threads."""
    return -(-threads // BLOCK)


def available(device: torch.device) -> bool:
    """Whether kernels can be compiled for a device: it is a CUDA GPU, and CuPy is installed."""
    return device.type == "cuda" and _cupy_imports()


@functools.cache
def load_kernels(
    package: str,
    file: str,
    names: tuple[str, ...],
    device_index: int,
    options: tuple[str, ...] = (),
    constants: tuple[tuple[str, int | float], ...] = (),
) -> tuple[Kernel, ...]:
    """The kernels of a .cu file, compiled for one GPU. CuPy keeps the binary on disk, so only the first run compiles.

    Args:
        package: in which the file lies.
        file: its name. Its lines `#include "folder/of/a/package/file"` are replaced by those files: CuPy finds binaries
            by the text of the source, and would not notice that an included file has changed.
        names: of the kernels, declared extern "C".
        device_index: of the GPU.
        options: of the compiler NVRTC, besides the language standard.
        constants: names and values of macros that the file uses besides BLOCK: int as int and float as float. They
            become lines of the source, so that CuPy makes another binary where one of them changes.

    Raises:
        MissingDependencyError: CuPy is not installed, or cannot compile for this GPU.
    """
    cupy = load_cupy()
    source = _defines((("BLOCK", BLOCK), *constants)) + _source(package, file)
    try:
        with cupy.cuda.Device(device_index):
            module = cupy.RawModule(code=source, options=("--std=c++17", *options))
            return tuple(Kernel(module.get_function(name), device_index) for name in names)
    except (cupy.cuda.compiler.CompileException, RuntimeError, OSError) as error:
        raise MissingDependencyError(
            f"CuPy {cupy.__version__} could not compile {file} for GPU {device_index}: {error}\n"
            "Its CUDA version must fit PyTorch's and the driver's: pip install 'pose6d[gpu]' for CUDA 13, "
            "cupy-cuda12x for CUDA 12"
        ) from error


def _source(package: str, file: str) -> str:
    text = importlib.resources.files(package).joinpath(file).read_text(encoding="utf-8")

    def included(line: re.Match[str]) -> str:
        folder, _, name = line[1].rpartition("/")
        return _source(folder.replace("/", "."), name)

    return re.sub(r'^#include "(.+)"$', included, text, flags=re.MULTILINE)


def _defines(constants: tuple[tuple[str, int | float], ...]) -> str:
    return "".join(f"#define {name} {value}{'f' if isinstance(value, float) else ''}\n" for name, value in constants)


@functools.cache
def load_cupy() -> Any:
    """The package cupy.

    Raises:
        MissingDependencyError: it cannot be imported.
    """
    try:
        import cupy
    except ImportError as error:
        raise MissingDependencyError(
            f"rendering on CUDA needs CuPy, which cannot be imported ({error}): pip install 'pose6d[gpu]' "
            "(with a CUDA 12 build of PyTorch: pip install cupy-cuda12x), or run with --device cpu"
        ) from error
    return cupy


@functools.cache
def _cupy_imports() -> bool:
    try:
        load_cupy()
    except MissingDependencyError:
        return False
    return True


def _argument(value: torch.Tensor | int | float | None) -> np.generic:
    """A kernel's argument of exact C type."""
    if isinstance(value, int):
        return _int32(value)
    if isinstance(value, float):
        return _float32(value)
    return _pointer(0 if value is None else value.data_ptr())


class _TorchStream:
    """A stream of PyTorch's in the CUDA stream protocol, which older versions of torch.cuda.Stream do not speak."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


@functools.lru_cache(maxsize=256)
def _stream(device_index: int, pointer: int) -> Any:
    """A stream as CuPy's; ExternalStream is deprecated from CuPy 14, its successor new there.

    Making one takes longer than a launch. It only names the stream, so one that is kept too long does no harm.
    """
    cuda = load_cupy().cuda
    if hasattr(cuda.Stream, "from_external"):
        return cuda.Stream.from_external(_TorchStream(pointer))
    return cuda.ExternalStream(pointer, device_index)
