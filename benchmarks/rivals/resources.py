"""What a computation takes besides time: memory and energy, where the system tells."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch


class MemoryPeak:
    """The most memory that was in use since the last `start`.

    On CUDA that of PyTorch on the GPU, else that of this process and another one, on Linux; None elsewhere.
    """

    def __init__(self, device: torch.device):
        self._device = device

    def start(self) -> None:
        """Forget what was before."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                return

    def read(self, other: int | None = None) -> int | None:
        """Bytes; `other` is the number of a further process that counts."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        own = _resident("self")
        return None if own is None else own + (0 if other is None else _resident(str(other)) or 0)


def _resident(process: str) -> int | None:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return None if peak is None else 1024 * int(peak)


class EnergyMeter:
    """The energy that a GPU has taken, by NVIDIA's management library (package nvidia-ml-py); 0 elsewhere."""

    def __init__(self, device: torch.device):
        self._handle = None
        if device.type == "cuda":
            try:
                self._nvml = importlib.import_module("pynvml")
                self._nvml.nvmlInit()
                uuid = torch.cuda.get_device_properties(device).uuid
                self._handle = self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
            except Exception:  # of many kinds, and none of them ends a benchmark
                return

    def read(self) -> float | None:
        """Joules since the driver was loaded; None where nobody counts."""
        if self._handle is None:
            return None
        return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3
