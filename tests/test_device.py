"""Which device is used."""

from __future__ import annotations

import pytest
import torch

from pose6d.device import resolve_device
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
