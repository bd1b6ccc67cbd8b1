"""Which device is used, and how a GPU's libraries are started while the rest is loaded."""

from __future__ import annotations

import pytest
import torch

from pose6d import device as device_module
from pose6d.device import resolve_device, wake_up
from pose6d.errors import DeviceError


@pytest.mark.parametrize("name", ["tpu", "cpu:x", "mps"])
def test_an_unknown_device_is_refused_by_name(name: str) -> None:
    with pytest.raises(DeviceError, match=name):
        resolve_device(name)


def test_a_missing_gpu_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="sees no GPU"):
        resolve_device("cuda")


def test_a_cpu_has_nothing_to_start() -> None:
    assert wake_up(torch.device("cpu")) is None


def test_what_fails_in_the_background_is_left_to_who_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: 1 / 0)
    device_module._start_libraries(torch.device("cuda"))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA GPU")
def test_the_libraries_start_and_do_not_fail() -> None:
    thread = wake_up(torch.device("cuda"))
    assert thread is not None and thread.daemon
    thread.join(60)
    assert not thread.is_alive()
