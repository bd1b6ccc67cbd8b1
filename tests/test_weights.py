"""Finding, checking and loading weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from learning.models.config import NetworkConfig
from learning.models.loading import build_network, load_network
from pose6d.errors import WeightsError
from pose6d.weights import PUBLISHED_RUNS, find_weights, load_weights, save_weights, sha256

KINDS = ("refiner", "scorer")
SMALL = {"width": 4, "input_size": 32}


def write_small(folder: Path, kind: str = "refiner", **changes: object) -> Path:
    config = NetworkConfig(kind=kind, **(SMALL | changes))
    return save_weights(folder, kind, build_network(config).state_dict(), config.to_dict())


def write_set(folder: Path, **changes: object) -> None:
    manifest = folder.parent / "manifest.json"
    files = json.loads(manifest.read_text())["files"] if manifest.exists() else {}
    for file in (write_small(folder, kind, **changes) for kind in KINDS):
        files[f"{folder.name}/{file.name}"] = {"sha256": sha256(file)}
    manifest.write_text(json.dumps({"files": files}))


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with `base` and `lite`, used instead of the checkout's."""
    monkeypatch.setenv("POSE6D_WEIGHTS", str(tmp_path))
    write_set(tmp_path / "base")
    write_set(tmp_path / "lite", width=2)
    return tmp_path


def test_auto_prefers_by_device_and_takes_what_there_is(sets: Path) -> None:
    assert find_weights("auto", "refiner", "cuda") == sets / "base" / "refiner.safetensors"
    assert find_weights("auto", "refiner", "cpu") == sets / "lite" / "refiner.safetensors"
    (sets / "lite" / "refiner.safetensors").unlink()
    assert find_weights("auto", "refiner", "cpu") == sets / "base" / "refiner.safetensors"
    assert find_weights("auto", "scorer", "cpu") == sets / "lite" / "scorer.safetensors"


@pytest.mark.parametrize("form", ["name", "folder", "file"])
def test_a_set_loads_by_name_folder_and_file(sets: Path, form: str) -> None:
    weights = {"name": "base", "folder": sets / "base", "file": sets / "base" / "scorer.safetensors"}[form]
    assert load_network(weights, "scorer").config == NetworkConfig(kind="scorer", **SMALL)


def test_half_precision_files_load_as_float32_and_keep_their_values(tmp_path: Path) -> None:
    config = NetworkConfig(**SMALL)
    network = build_network(config)
    save_weights(tmp_path, "refiner", network.state_dict(), config.to_dict())
    loaded = load_network(tmp_path, "refiner").state_dict()
    for name, wanted in network.state_dict().items():
        assert loaded[name].dtype == wanted.dtype, name
        torch.testing.assert_close(loaded[name], wanted, atol=1e-7, rtol=1e-3)  # float16 has 11 bits
        if wanted.ndim < 2:
            assert torch.equal(loaded[name], wanted), f"{name} is a vector and should be stored exactly"


@pytest.mark.parametrize(("place", "wrapped"), [("", False), ("{kind}", True), ("{run}", True)])
def test_published_checkpoints_load(tmp_path: Path, place: str, wrapped: bool) -> None:
    networks = {}
    # Directly in the folder there is room for one network only.
    for kind in KINDS if place else KINDS[:1]:
        networks[kind] = build_network(NetworkConfig(kind=kind))
        folder = tmp_path / place.format(kind=kind, run=PUBLISHED_RUNS[kind])
        folder.mkdir(parents=True, exist_ok=True)
        state = networks[kind].state_dict()
        content = {"model": state, "epoch": 3, "optimizer": {"lr": 1e-4}} if wrapped else state
        torch.save(content, folder / "model_best.pth")
        published = {
            "c_in": 6,
            "use_BN": True,
            "input_resize": [160, 160],
            "normalize_xyz": True,
            "zfar": "Infinity",
            "crop_ratio": 1.2 if kind == "refiner" else 1.1,
        }
        (folder / "config.yml").write_text(yaml.safe_dump(published))
    for kind, network in networks.items():
        loaded = load_network(tmp_path, kind)
        assert loaded.config.crop_ratio == {"refiner": 1.2, "scorer": 1.1}[kind]
        for name, wanted in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], wanted), name


def test_a_changed_byte_is_noticed(sets: Path) -> None:
    file = sets / "base" / "refiner.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"refiner\.safetensors are corrupt: SHA-256"):
        load_weights("base", "refiner")
    load_weights("base", "scorer")


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    file = write_small(tmp_path)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"refiner\.safetensors cannot be read"):
        load_weights(tmp_path, "refiner")
    checkpoint = tmp_path / "model.pth"
    torch.save({"a": torch.zeros(1000)}, checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"model\.pth"):
        load_weights(checkpoint, "refiner")


class _Payload:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("executed"),))


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": _Payload()}, "model_best.pth")
    with pytest.raises(WeightsError, match="not executed"):
        load_weights(tmp_path / "model_best.pth", "refiner")
    assert not Path("executed").exists()


def test_another_architecture_is_named_by_its_tensors(sets: Path) -> None:
    file = sets / "lite" / "refiner.json"
    file.write_text(json.dumps(NetworkConfig(**SMALL).to_dict()))
    with pytest.raises(
        WeightsError, match=r"another architecture.*encodeA\.0\.net\.0\.weight \(2, 6, 7, 7\) instead of"
    ):
        load_network("lite", "refiner")
    with pytest.raises(WeightsError, match=r"scorer\.safetensors: these weights are a scorer, but a refiner is wanted"):
        load_network(sets / "base" / "scorer.safetensors", "refiner")


def test_missing_and_unexpected_tensors_are_listed(tmp_path: Path) -> None:
    config = NetworkConfig(**SMALL)
    state = build_network(config).state_dict()
    state["extra"] = state.pop("trans_head.1.bias")
    save_weights(tmp_path, "refiner", state, config.to_dict())
    with pytest.raises(WeightsError, match=r"1 missing \(trans_head\.1\.bias\); 1 unexpected \(extra\)"):
        load_network(tmp_path, "refiner")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    config = NetworkConfig(**SMALL)
    state = build_network(config).state_dict()
    state["rot_head.1.bias"] = torch.tensor([0.0, float("nan"), 0.0])
    save_weights(tmp_path, "refiner", state, config.to_dict())
    with pytest.raises(WeightsError, match=r"rot_head\.1\.bias holds values that are not finite"):
        load_weights(tmp_path, "refiner")


def test_missing_things_are_named(sets: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"neither a set \(base, lite\) nor a path"):
        find_weights("huge", "refiner")
    empty = tmp_path / "elsewhere" / "empty"
    empty.mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"holds no scorer: expected scorer\.safetensors"):
        find_weights(empty, "scorer")
    (sets / "base" / "refiner.json").unlink()
    with pytest.raises(WeightsError, match=r"refiner\.json is missing"):
        load_weights("base", "refiner")


def test_an_empty_weights_folder_says_what_belongs_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSE6D_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(WeightsError, match=r"expected refiner\.safetensors in base/ or lite/"):
        find_weights("auto", "refiner")


def test_a_gpu_without_base_takes_lite_and_says_where_base_is(sets: Path) -> None:
    shutil.rmtree(sets / "base")
    with pytest.warns(UserWarning, match=r"no base weights in .*using the smaller lite.*POSE6D_WEIGHTS"):
        assert find_weights("auto", "refiner", "cuda") == sets / "lite" / "refiner.safetensors"
    with pytest.raises(WeightsError, match=r"'base' are neither a set \(lite\) nor a path; .*checkout.*POSE6D_WEIGHTS"):
        find_weights("base", "refiner", "cuda")


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_noticed_wherever_the_file_lies(tmp_path: Path, kind: str) -> None:
    """No manifest names the sets that people train."""
    file = write_small(tmp_path / "run", kind)
    moved = shutil.copytree(tmp_path / "run", tmp_path / "elsewhere") / file.name
    whole = moved.read_bytes()
    load_weights(moved, kind)
    header = 8 + int.from_bytes(whole[:8], "little")
    for position in (0, 8, 60, 200, header - 1, header, (header + len(whole)) // 2, len(whole) - 1):
        content = bytearray(whole)
        content[position] ^= 4
        moved.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{file.name} (are corrupt|cannot be read)"):
            load_weights(moved, kind)


def test_a_file_without_a_checksum_loads(tmp_path: Path) -> None:
    file = write_small(tmp_path)
    state = load_weights(tmp_path, "refiner").state
    file.write_bytes(safetensors.torch.save(state))
    assert load_weights(tmp_path, "refiner").state.keys() == state.keys()


def test_a_flipped_bit_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "model_best.pth"
    torch.save({"model": {"weight": torch.arange(1000.0)}}, file)
    content = bytearray(file.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 1234] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model_best\.pth is corrupt in its part model_best/data/0"):
        load_weights(file, "refiner")


DEEP = 5000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * DEEP + "]" * DEEP, "nested too deep"),
        ('{"width": ' * DEEP + "4" + "}" * DEEP, "nested too deep"),
        ('{"width": ' + "9" * 5000 + "}", "cannot be read as JSON"),
        ('{"width": 4', "cannot be read as JSON"),
        ("\x00\x01", "cannot be read as JSON"),
        ("[4]", "holds list, expected named values"),
        ('{"width": 1e400}', "width is inf: expected a whole number"),
        ('{"width": true}', "width is True: expected a whole number"),
        ('{"width": 100000}', "expected at most 4096"),
        ('{"min_depth": 1' + "0" * 400 + "}", "min_depth is 10000000000000000000: expected a number below"),
        ('{"crop_ratio": NaN}', "crop_ratio is nan: expected a number below"),
        ('{"crop_ratio": -1}', "crop_ratio is -1: expected a positive number"),
        ('{"input_resize": 160, "c_in": 6, "normalize_xyz": true}', "input_resize = 160"),
        ('{"input_resize": [160, 160], "c_in": 6, "normalize_xyz": true, "crop_ratio": "wide"}', "crop_ratio .*'wide'"),
        ("{" + ",".join(f'"key{i}": 1' for i in range(99)) + "}", "unknown keys .* and 94 more"),
    ],
)
def test_configs_that_make_no_network(tmp_path: Path, text: str, message: str) -> None:
    file = write_small(tmp_path)
    file.with_suffix(".json").write_text(text)
    with pytest.raises(WeightsError, match=rf"refiner\.(json|safetensors).*{message}"):
        load_network(tmp_path, "refiner")


def test_a_published_config_nested_too_deep(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "model_best.pth")
    (tmp_path / "config.yml").write_text("[" * DEEP + "]" * DEEP)
    with pytest.raises(WeightsError, match=r"config\.yml cannot be read as YAML"):
        load_network(tmp_path, "refiner")


@pytest.mark.parametrize("text", ["[" * DEEP, "[]", '{"files": {"base/refiner.safetensors": {}}}', '{"files": []}'])
def test_a_manifest_that_is_none(sets: Path, text: str) -> None:
    (sets / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        load_weights("base", "refiner")


@pytest.mark.parametrize(
    "content", [b"root:x:0:0:root:/root:/bin/bash\n", b"<html>404</html>", b"\x80\x02}q\x00.", b""]
)
def test_a_file_that_is_no_checkpoint_at_all(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "something"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="something"):
        load_weights(file, "refiner")
