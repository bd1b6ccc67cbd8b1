"""Choosing the device everything runs on."""

from __future__ import annotations

import contextlib
import threading

import torch
from torch.nn.functional import linear, scaled_dot_product_attention

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
    except RuntimeError as error:
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


def wake_up(device: torch.device) -> threading.Thread | None:
    """Start what a GPU's libraries take a second to start, while the caller imports and loads other things.

    Calling it is never necessary. Whatever fails here will fail again, with its message, where it is needed.

    Returns:
        The thread that does so; None on a CPU, which has nothing to start.
    """
    if device.type != "cuda":
        return None
    thread = threading.Thread(target=_start_libraries, args=(device,), name="wake_up", daemon=True)
    thread.start()
    return thread


def _start_libraries(device: torch.device) -> None:
    with contextlib.suppress(Exception), torch.inference_mode(), torch.cuda.device(device):
        tokens = torch.zeros((1, 1, 64, 64), dtype=torch.float16, device=device)
        scaled_dot_product_attention(tokens, tokens, tokens)
        linear(tokens, tokens[0, 0], tokens[0, 0, 0])
        image = tokens.view(1, 64, 8, 8).contiguous(memory_format=torch.channels_last)
        kernel = image[:, :, :3, :3].expand(64, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        torch.cudnn_convolution_relu(image, kernel, tokens[0, 0, 0], (1, 1), (1, 1), (1, 1), 1)
        torch.cuda.synchronize(device)
