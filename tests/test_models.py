"""The networks: compatible with the published state dicts and outputs, trainable, scalable."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from learning.inference.torch_runner import fold_batch_norm
from learning.models.blocks import EncoderLayer, SelfAttention
from learning.models.config import NetworkConfig
from learning.models.loading import build_network
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.errors import WeightsError

SMALL = {"width": 4, "input_size": 32}


def deterministic_fill(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The fill rule that goes with the golden outputs."""
    rng = np.random.default_rng(seed)
    state = network.state_dict()
    for name in sorted(state):
        if name == "pos_embed.pe" or name.endswith("num_batches_tracked"):
            continue
        x = rng.standard_normal(tuple(state[name].shape)).astype(np.float32)
        if name.endswith("running_var"):
            x = 1 + 0.1 * np.abs(x)
        elif name.endswith("weight") and (".bn" in name or name.endswith(".net.1.weight") or ".norm" in name):
            x = 1 + 0.1 * x
        elif x.ndim >= 2:
            x = x / np.sqrt(np.prod(x.shape[1:]))
        else:
            x = 0.05 * x
        state[name] = torch.from_numpy(np.asarray(x, np.float32))
    network.load_state_dict(state)
    return network.eval()


def pair(seed: int, n: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    images = [rng.random((n, 6, size, size), np.float32) for _ in range(2)]
    for image in images:
        image[:, 3:] = 2 * image[:, 3:] - 1
    return torch.from_numpy(images[0]), torch.from_numpy(images[1])


@pytest.mark.parametrize("kind", ["refiner", "scorer"])
def test_state_dict_is_the_published_one(kind: str, golden: Path) -> None:
    published = (golden / f"{kind}_state_dict.txt").read_text().strip().splitlines()
    state = build_network(NetworkConfig(kind=kind)).state_dict()
    assert [f"{name}\t{list(x.shape)}\t{x.dtype}" for name, x in state.items()] == published


@pytest.mark.parametrize("folded", [False, True])
def test_outputs_are_the_published_ones(golden: Path, folded: bool) -> None:
    wanted = json.loads((golden / "network_outputs.json").read_text())
    refiner, scorer = deterministic_fill(RefineNet(), 1), deterministic_fill(ScoreNetMultiPair(), 2)
    assert sum(p.numel() for p in refiner.parameters()) == wanted["refiner_parameters"]
    assert sum(p.numel() for p in scorer.parameters()) == wanted["scorer_parameters"]
    if folded:
        refiner, scorer = fold_batch_norm(refiner), fold_batch_norm(scorer)
    A, B = pair(7, 3, 160)
    with torch.inference_mode():
        trans, rot = refiner(A, B)
        logits = scorer(A, B, group_size=3).ranking
    # Worst difference seen: 5e-7.
    torch.testing.assert_close(trans, torch.tensor(wanted["trans"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(rot, torch.tensor(wanted["rot"]), atol=1e-4, rtol=0)
    torch.testing.assert_close(logits, torch.tensor(wanted["score_logit"]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["refiner", "scorer"])
def test_folding_keeps_the_function(kind: str) -> None:
    network = deterministic_fill(build_network(NetworkConfig(kind=kind, **SMALL)), 3)
    folded = fold_batch_norm(copy.deepcopy(network))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert not folded.config.use_bn
    # What is left has the architecture that its config describes.
    build_network(folded.config).load_state_dict(folded.state_dict())
    A, B = pair(0, 4, 32)
    with torch.inference_mode():
        if kind == "refiner":
            torch.testing.assert_close(folded(A, B), network(A, B), atol=2e-5, rtol=0)
        else:
            torch.testing.assert_close(folded(A, B, 2), network(A, B, 2), atol=2e-5, rtol=0)


def test_attention_is_torch_multihead_attention() -> None:
    ours, theirs = SelfAttention(32, 4), torch.nn.MultiheadAttention(32, 4, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 32)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0], atol=1e-5, rtol=1e-5)


def test_encoder_layer_is_torch_encoder_layer() -> None:
    ours = EncoderLayer(32, 4, dropout=0.1).eval()
    theirs = torch.nn.TransformerEncoderLayer(32, 4, dim_feedforward=32, batch_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 32)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("width", "dimension"), [(64, 512), (32, 256)])
@pytest.mark.parametrize(("size", "tokens"), [(160, 400), (128, 256)])
def test_width_and_input_size_scale_the_network(width: int, dimension: int, size: int, tokens: int) -> None:
    config = NetworkConfig(width=width, input_size=size)
    network = RefineNet(config)
    assert network.encodeA[0].conv.out_channels == width
    assert network.pos_embed.pe.shape == (1, tokens, dimension)
    A, B = pair(0, 1, size)
    with torch.inference_mode():
        trans, rot = network.eval()(A, B)
    assert trans.shape == rot.shape == (1, 3)


def test_every_parameter_gets_a_gradient() -> None:
    A, B = pair(0, 4, 32)
    for kind in ("refiner", "scorer"):
        network = build_network(NetworkConfig(kind=kind, confidence=True, **SMALL)).train()
        if kind == "refiner":
            trans, rot = network(A, B)
            (trans.square().sum() + rot.square().sum()).backward()
        else:
            scores = network(A, B, group_size=2)
            (scores.ranking.square().sum() + scores.confidence.square().sum()).backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_acts_in_training_only(dropout: float) -> None:
    network = RefineNet(NetworkConfig(dropout=dropout, use_bn=False, **SMALL))
    A, B = pair(0, 2, 32)
    with torch.no_grad():
        torch.manual_seed(0)
        trained = [network.train()(A, B)[0] for _ in range(2)]
        evaluated = [network.eval()(A, B)[0] for _ in range(2)]
    assert torch.equal(evaluated[0], evaluated[1])
    assert torch.equal(trained[0], trained[1]) == (dropout == 0.0)


def test_scorer_treats_hypotheses_as_a_set_and_objects_apart() -> None:
    network = deterministic_fill(ScoreNetMultiPair(NetworkConfig(kind="scorer", **SMALL)), 3)
    A, B = pair(0, 6, 32)
    order = torch.tensor([2, 0, 1])
    with torch.inference_mode():
        scores = network(A, B, group_size=3).ranking  # (2, 3)
        shuffled = network(A[:3][order], B[:3][order], group_size=3).ranking
        A[3:] = 0.0  # the other object
        other = network(A, B, group_size=3).ranking
    assert scores.shape == (2, 3)
    torch.testing.assert_close(shuffled[0], scores[0][order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other[0], scores[0], atol=1e-6, rtol=0)
    assert not torch.allclose(other[1], scores[1], atol=1e-6)


def test_confidence_judges_each_pair_alone_and_is_absent_from_published_networks() -> None:
    torch.manual_seed(0)
    network = ScoreNetMultiPair(NetworkConfig(kind="scorer", confidence=True, **SMALL)).eval()
    A, B = pair(0, 6, 32)
    with torch.inference_mode():
        together, alone = network(A, B, group_size=6).confidence, network(A[:1], B[:1], group_size=1).confidence
        published = ScoreNetMultiPair(NetworkConfig(kind="scorer", **SMALL)).eval()(A, B, group_size=6)
    assert together is not None and alone is not None
    torch.testing.assert_close(together[0, :1], alone[0], atol=1e-5, rtol=1e-5)
    assert published.confidence is None


def test_scorer_refuses_groups_that_do_not_divide_the_batch() -> None:
    with pytest.raises(ValueError, match="5 pairs do not form groups of 2"):
        ScoreNetMultiPair(NetworkConfig(kind="scorer", **SMALL))(*pair(0, 5, 32), group_size=2)


def test_config_survives_json() -> None:
    config = NetworkConfig(kind="scorer", width=32, rotation_limit=0.7, dropout=0.0)
    assert NetworkConfig.from_dict(json.loads(json.dumps(config.to_dict())), "scorer") == config
    assert config.crop_ratio == 1.1
    assert NetworkConfig().crop_ratio == 1.2


def test_published_config_is_understood() -> None:
    published = {
        "c_in": 6,
        "use_BN": True,
        "rot_rep": "axis_angle",
        "trans_rep": "tracknet",
        "crop_ratio": None,
        "normalize_xyz": True,
        "rot_normalizer": 0.3490658503988659,
        "input_resize": [160, 160],
        "zfar": "Infinity",
    }
    assert NetworkConfig.from_dict(published, "refiner") == NetworkConfig(clip_to_image=False)
    scorer = NetworkConfig.from_dict(published | {"crop_ratio": 1.1}, "scorer")
    assert (scorer.crop_ratio, scorer.min_depth) == (1.1, 0.1)
    with pytest.raises(WeightsError, match="rot_rep = '6d'"):
        NetworkConfig.from_dict(published | {"rot_rep": "6d"}, "refiner")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "scorer"}, "are a scorer, but a refiner is wanted"),
        ({"widht": 3}, "unknown keys"),
        ({"input_size": 100}, "multiple of 8"),
        ({"width": 3, "heads": 16}, "heads"),
        ({"width": "wide"}, "width is 'wide': expected a whole number"),
        ({"use_bn": 1}, "use_bn is 1: expected true or false"),
        ({"heads": 0}, "heads is 0"),
        ({"kind": "ranker"}, "expected 'refiner' or 'scorer'"),
    ],
)
def test_bad_configs_are_refused(values: dict, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        NetworkConfig.from_dict(values, "refiner")
