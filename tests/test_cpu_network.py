"""Layers made of kernels of our own are the plain ones, at borders, with a residual and on any number of threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from learning.inference.cpu_network import WinogradResidualBlock
from learning.inference.torch_runner import NetworkRunner
from learning.inference.winograd import WinogradConvReLU
from learning.models.blocks import ResidualBlock
from learning.models.config import Kind, NetworkConfig
from learning.models.loading import build_network
from learning.models.refine_network import RefineNet


@pytest.fixture
def torch_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def picture(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    noise = torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(0))
    return noise.to(memory_format=torch.channels_last)


@pytest.mark.usefixtures("torch_threads")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(1, 32, 4, 4), (3, 64, 8, 20), (5, 128, 12, 12)])
def test_residual_block_is_the_plain_one(shape: tuple[int, int, int, int], threads: int) -> None:
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    block, x = ResidualBlock(shape[1], use_bn=False), picture(*shape)
    with torch.inference_mode():
        expected, found = block(x), WinogradResidualBlock(block)(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_nan_is_not_hidden() -> None:
    conv, x = torch.nn.Conv2d(32, 32, 3, padding=1), picture(1, 32, 8, 8)
    x[0, 0, 1, 1] = torch.nan
    with torch.inference_mode():
        found = WinogradConvReLU(conv)(x)
    assert found[0, :, 1, 1].isnan().all()
    assert found[0, :, 4:, 4:].isfinite().all(), "tiles that do not touch it"


@pytest.mark.usefixtures("torch_threads")
@pytest.mark.parametrize(("width", "size"), [(32, 64), (32, 72), (2, 64)])
@pytest.mark.parametrize("kind", ["refiner", "scorer"])
def test_whole_network_is_the_plain_one_whatever_its_shape(kind: Kind, width: int, size: int) -> None:
    """Images of 9x9 do not split into tiles, and four channels do not fill a vector: such networks stay as they are."""
    torch.manual_seed(0)
    config = NetworkConfig(kind=kind, width=width, input_size=size, heads=2, confidence=kind == "scorer")
    network = build_network(config).eval()
    A, B = torch.rand(3, 6, size, size), torch.rand(1, 6, size, size)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runner = NetworkRunner(kind, network=network, device="cpu")
        with torch.inference_mode():
            if isinstance(network, RefineNet):
                found, expected = runner.refine(A, B), network(A, B.expand_as(A))
            else:
                found, expected = runner.score(A, B)[1], network(A, B.expand_as(A), 3)
        for one, other in zip(found[:2], expected[:2], strict=True):
            torch.testing.assert_close(one, other.view_as(one), atol=1e-4, rtol=1e-3)
