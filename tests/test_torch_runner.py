"""The networks as they run in inference: the same function, whatever makes it fast."""

from __future__ import annotations

import pytest
import torch

from learning.inference.torch_runner import NetworkRunner
from learning.models.config import NetworkConfig
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.errors import DeviceError
from tests.small_networks import small_network


@pytest.fixture
def network() -> RefineNet:
    """A network whose normalisation statistics come from data, so that folding has something to do."""
    return small_network()


def test_runner_gives_what_the_network_gives(network: RefineNet, device: torch.device) -> None:
    A, B = torch.rand(2, 5, 6, 64, 64)
    runner = NetworkRunner("refiner", network=network, device=device)
    with torch.inference_mode():
        wanted = network(A, B)
        found = runner.network(runner.cast(A.to(device)), runner.cast(B.to(device)))
    # float16 has a step of 1e-3 near 1, where these outputs lie.
    tolerance = 1e-4 if device.type == "cpu" else 2e-2
    for x, y in zip(found, wanted, strict=True):
        torch.testing.assert_close(x.float().cpu(), y, atol=tolerance, rtol=0)


@pytest.mark.parametrize("confidence", [False, True])
def test_a_cpu_with_matrix_units_computes_in_bfloat16_and_ends_in_float32(
    network: RefineNet, confidence: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NetworkConfig(kind="scorer", width=16, input_size=64, confidence=confidence)
    scorer = ScoreNetMultiPair(config).eval()
    A, B = torch.rand(2, 5, 6, 64, 64)
    results = []
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    for supported in (False, True):  # by the kernel; a CPU without such units computes the same, slowly
        monkeypatch.setattr(torch.cpu, "_init_amx", lambda found=supported: found, raising=False)
        with torch.inference_mode():
            refine = NetworkRunner("refiner", network=network, device="cpu")
            score = NetworkRunner("scorer", network=scorer, device="cpu")
            features, scores = score.score(A[:2], B[:2])
            features, scores = score.score(A[2:], B[2:], features)
            results.append([*refine.refine(A, B), features, scores.ranking])
            assert (scores.confidence is not None) == confidence
            results[-1] += [scores.confidence] if confidence else []
        trunk = next(refine.network.parameters())
        assert trunk.dtype == (torch.bfloat16 if supported else torch.float32)
        assert NetworkRunner("refiner", network=network, device="cpu", amp=False).dtype == torch.float32
    for wanted, found in zip(*results, strict=True):
        assert found.dtype == torch.float32
        assert not torch.equal(found, wanted)
        torch.testing.assert_close(found, wanted, atol=0.03, rtol=0)


def test_what_all_hypotheses_look_at_is_encoded_once(network: RefineNet, device: torch.device) -> None:
    A, B = torch.rand(5, 6, 64, 64, device=device), torch.rand(1, 6, 64, 64, device=device)
    runner = NetworkRunner("refiner", network=network, device=device)
    with torch.inference_mode():
        found, wanted = runner.refine(A, B), runner.refine(A, B.expand_as(A))
    tolerance = 1e-5 if device.type == "cpu" else 2e-2
    for x, y in zip(found, wanted, strict=True):
        torch.testing.assert_close(x, y, atol=tolerance, rtol=0)


def test_runner_leaves_the_given_network_alone(network: RefineNet) -> None:
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    runner = NetworkRunner("refiner", network=network, device="cpu")
    assert network.training
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert network.config.use_bn
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not runner.network.training


def test_an_absent_device_is_an_error(network: RefineNet) -> None:
    with pytest.raises(DeviceError):
        NetworkRunner("refiner", network=network, device="cuda:99")
