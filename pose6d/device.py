"""Choosing the device everything runs on."""

from __future__ import annotations

import torch

from pose6d.errors import DeviceError


def fast_dtype(device: torch.device) -> torch.dtype:
    """The number format in which networks run fastest: float16 on CUDA, bfloat16 on a CPU with matrix units for it
    (Intel's AMX), else float32.

    Without such units bfloat16 is slower than float32, also where a CPU has vector instructions for it.
    """
    if device.type == "cuda":
        return torch.float16
    supported = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    granted = getattr(torch.cpu, "_init_amx", lambda: True)  # an old kernel of Linux lets no process use them
    return torch.bfloat16 if device.type == "cpu" and supported() and granted() else torch.float32


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that exists.

    `auto` is the first CUDA GPU where PyTorch sees one, else the CPU.

    Raises:
        DeviceError: CUDA was asked for and PyTorch cannot use it, or the name is no device.
    """
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(f"device {name!r} is unknown: use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {name!r} is not supported: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            built = torch.version.cuda or "no CUDA"
            raise DeviceError(
                f"device {name!r} was asked for, but PyTorch {torch.__version__} (built with {built}) sees no GPU: "
                "install a CUDA build of PyTorch and check nvidia-smi, or pass --device cpu"
            )
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            raise DeviceError(f"device {name!r} was asked for, but only {count} GPU(s) are visible")
        device = torch.device("cuda", device.index if device.index is not None else torch.cuda.current_device())
    return device
