"""Textures from words: the whole command against a server of models on this machine, and all that can go wrong."""

from __future__ import annotations

import base64
import io
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from learning.datasets.objects.training_pool import load_textures
from learning.datasets.texture_generation import endpoint as endpoint_module
from learning.datasets.texture_generation.descriptions import (
    KINDS,
    choose_kinds,
    offline_description,
    read_descriptions,
)
from learning.datasets.texture_generation.generate import TextureOptions, generate_textures
from learning.datasets.texture_generation.texture_folder import TextureFolder
from pose6d.errors import MissingDependencyError, OptionError, OutputError, TextureError
from tests.model_server import ModelServer, answer, chat, model_server, picture, picture_file


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("POSE6D_API_KEY", raising=False)
    monkeypatch.setattr(endpoint_module.time, "sleep", lambda _: None)
    with model_server() as server:
        yield server


def _options(server: ModelServer, out: Path, **more: Any) -> TextureOptions:
    return TextureOptions(**{"out": out, "endpoint": server.url, "count": 3, "yes": True, "retries": 1, **more})


def _manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_the_command_makes_textures_that_training_reads(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    arguments = f"textures --out {out} --endpoint {server.url} --count 25 --kinds mug drill --picture_model painter"
    monkeypatch.setattr(sys, "argv", ["datasets", *arguments.split(), "--chat_model", "writer", "--send_seed", "--yes"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("learning.datasets", run_name="__main__")
    assert ended.value.code == 0
    assert server.paths() == ["completions"] * 2 + ["generations"] * 25
    asked = server.asked[0][2]
    assert asked["model"] == "writer" and sorted(set(asked["messages"][1]["content"].split()))[-2:] == ["drill", "mug"]
    painted = server.asked[2][2]
    assert (painted["model"], painted["size"], painted["n"]) == ("painter", "1024x1024", 1)
    records = _manifest(out)
    assert [record["index"] for record in records] == list(range(25))
    assert records[0]["prompt"] == painted["prompt"] and records[0]["description"] in painted["prompt"]
    assert records[0]["seed"] == painted["seed"] and records[0]["model"] == "painter"
    assert records[0]["size"] == [160, 160] and len(records[0]["checksum"]) == 64
    assert len(load_textures(out)) == 25
    assert f"--pool.texture_dir {out}" in capsys.readouterr().out


def test_without_yes_nothing_is_sent_or_written(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = _options(server, tmp_path / "made", count=50, yes=False, price_per_call=0.01, price_per_picture=0.04)
    assert generate_textures(options) is None
    said = capsys.readouterr().out
    assert "3 x 0.01 a call + 50 x 0.04 a picture = 2.03" in said and "--yes" in said
    assert not server.asked and not (tmp_path / "made").exists()


def test_a_second_run_goes_on_and_asks_for_nothing_twice(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = answer("", 500)
    server.next = [server.reply("/chat/completions", {"messages": [{"content": "1. a\n2. b\n3. c\n4. d"}]})]
    server.next += [picture(picture_file(101)), picture(picture_file(102)), down, down]
    with pytest.raises(TextureError, match=r"500 .*4 descriptions and 2 pictures are kept in .*goes on from there"):
        generate_textures(_options(server, tmp_path, count=4))
    server.asked.clear()
    generate_textures(_options(server, tmp_path, count=4))
    assert server.paths() == ["generations"] * 2
    assert "4 wanted, 4 described, 2 painted" in capsys.readouterr().out
    generate_textures(_options(server, tmp_path, count=4))
    assert len(server.asked) == 2
    generate_textures(_options(server, tmp_path, count=6))
    assert server.paths()[2:] == ["completions", "generations", "generations"]
    assert [record["file"] for record in _manifest(tmp_path)] == [f"{i:06d}.png" for i in range(6)]


def test_what_was_killed_between_picture_and_manifest_is_not_paid_twice(server: ModelServer, tmp_path: Path) -> None:
    generate_textures(_options(server, tmp_path))
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "manifest.jsonl").write_text("".join(lines[:2]) + lines[2][:40])
    server.asked.clear()
    generate_textures(_options(server, tmp_path))
    assert not server.asked
    assert (tmp_path / "manifest.jsonl").read_text().splitlines(keepends=True) == lines


def _flat() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (200, 200), (90, 10, 10)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_flat(), "one flat colour"),
        (picture_file(1, size=60), "60 x 60 pixels, wanted at least 128"),
        (picture_file(1)[:2000], "cannot be decoded"),
        (b"<html>", "cannot be decoded"),
        (picture_file(0), "the same picture has come before"),
    ],
)
def test_a_picture_of_no_use_is_left_out_and_not_paid_again(
    server: ModelServer, tmp_path: Path, data: bytes, said: str
) -> None:
    server.next = [picture(picture_file(0)), picture(data)]
    options = _options(server, tmp_path, descriptions="offline")
    generate_textures(options)
    assert [bool(record["file"]) for record in _manifest(tmp_path)] == [True, False, True]
    assert said in _manifest(tmp_path)[1]["rejected"]
    assert len(load_textures(tmp_path)) == 2
    generate_textures(options)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("reply", "said", "kept"),
    [
        (answer({"data": []}), "answers without a picture .*a model that paints", 0),
        (answer({"choices": [{"message": {"content": "a fine mug"}}]}), r"it has: choices", 0),
        (answer({"error": {"message": "unknown size"}}, 400), "unknown size", 0),
        (picture(_flat()), "one flat colour", 3),
    ],
)
def test_three_pictures_of_no_use_in_a_row_end_the_run(
    server: ModelServer, tmp_path: Path, reply: Any, said: str, kept: int
) -> None:
    server.next = [reply] * 9
    with pytest.raises(TextureError, match=f"3 pictures in a row cannot be used; the last: .*{said}"):
        generate_textures(_options(server, tmp_path, descriptions="offline", count=9))
    assert len(server.asked) == 3
    assert len(TextureFolder(tmp_path).records) == kept  # what may be on the bill is not asked for again


def test_pictures_come_as_addresses_as_data_urls_and_as_jpeg(server: ModelServer, tmp_path: Path) -> None:
    server.files["/a.png"] = picture_file(1)
    address = server.url.replace("/v1", "/a.png")
    data_url = "data:image/jpeg;base64," + base64.b64encode(picture_file(2, form="JPEG")).decode()
    server.next = [answer({"data": [{"url": url}]}) for url in (address, data_url, "file:///etc/passwd")]
    generate_textures(_options(server, tmp_path, descriptions="offline"))
    assert len(load_textures(tmp_path)) == 2
    assert "names 'file:///etc/passwd' as the place of a picture" in _manifest(tmp_path)[2]["rejected"]


def test_the_key_is_not_sent_to_the_place_of_a_picture(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSE6D_API_KEY", "secret")
    server.files["/a.png"] = picture_file(1)
    server.next = [answer({"data": [{"url": server.url.replace("/v1", "/a.png")}]})]
    generate_textures(_options(server, tmp_path, descriptions="offline", count=1))
    assert ["Authorization" in headers for _, headers, _ in server.asked] == [True, False]
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.iterdir())


def test_descriptions_of_no_use_are_asked_for_three_times(
    server: ModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.next = [chat("Sure! Here are some ideas."), chat(None), chat('["too", 3, null]')]
    with pytest.raises(TextureError, match=r"0 new descriptions in 3 answers, wanted 3.*--descriptions offline"):
        generate_textures(_options(server, tmp_path))
    assert "Sure! Here are some ideas." in capsys.readouterr().out
    assert server.paths() == ["completions"] * 3


def test_a_model_that_repeats_itself_costs_three_times_the_estimate_at_most(
    server: ModelServer, tmp_path: Path
) -> None:
    server.next = [chat(json.dumps(["the same mug as ever", f"mug number {i} of many"])) for i in range(20)]
    with pytest.raises(TextureError, match="7 new descriptions in 6 answers, wanted 40"):
        generate_textures(_options(server, tmp_path, count=40))


def test_an_endpoint_without_chat_is_told_from_a_bad_answer(server: ModelServer, tmp_path: Path) -> None:
    server.next = [answer({"data": []})]
    with pytest.raises(TextureError, match=r"answers without a message \(it has: data\): is --chat_model"):
        generate_textures(_options(server, tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        '["a red mug of clay", "a blue\\n drill"]',
        'Of course:\n```json\n["a red mug of clay", "a blue drill"]\n```\nEnjoy!',
        '<think>["no", "not these"]</think>[{"description": "a red mug of clay"}, "a blue drill"]',
        '{"descriptions": ["a red mug of clay", "a blue drill"]}',
        '{"1": "a red mug of clay", "2": "a blue drill"}',
    ],
)
def test_lists_are_found_in_what_language_models_say(content: str) -> None:
    assert read_descriptions(content) == ["a red mug of clay", "a blue drill"]


@pytest.mark.parametrize(
    "content", ["", "no list", "[", "[1, 2]", '["short"]', "[" * 100_000 + "]", '["' + "x" * 999 + '"]']
)
def test_what_is_no_list_of_descriptions_gives_none(content: str) -> None:
    assert read_descriptions(content) == []


def test_the_grammar_is_varied_and_decided_by_the_seed() -> None:
    texts = [offline_description(0, i) for i in range(2000)]
    assert len(set(texts)) > 1990
    assert {kind for kind in KINDS if any(text.startswith(kind) for text in texts)} == set(KINDS)
    assert texts[7] == offline_description(0, 7) != offline_description(1, 7)
    assert not any(f" a {vowel}" in text for text in texts for vowel in "aeiou")
    assert offline_description(0, 0, ["flux capacitor"]).startswith("flux capacitor of ")


def test_every_kind_comes_before_one_comes_again() -> None:
    kinds = [*"abcdefg"]
    parts = choose_kinds(kinds, 4, 0, 0) + choose_kinds(kinds, 3, 0, 4) + choose_kinds(kinds, 7, 0, 7)
    assert sorted(parts[:7]) == kinds == sorted(parts[7:]) and len(parts) == 14


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"endpoint": None}, "--endpoint is missing"),
        ({"count": 0}, "--count is 0: wanted 1 to 100,000"),
        ({"timeout": float("nan")}, "--timeout is nan"),
        ({"price_per_picture": -1.0}, "--price_per_picture is -1.0"),
        ({"picture_fields": "quality=low"}, "--picture_fields is 'quality=low': wanted a JSON object"),
        ({"kinds": ("mug", " ")}, "--kinds is"),
        ({"pictures": "diffusers"}, "--pipeline is None"),
    ],
)
def test_options_of_no_use_are_named(server: ModelServer, tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        generate_textures(_options(server, tmp_path / "made", **more))
    assert not server.asked and not (tmp_path / "made").exists()


def test_folders_of_others_and_broken_files_are_not_touched(server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"holds other things \(holiday.jpg\): name a new folder"):
        generate_textures(_options(server, tmp_path))
    (tmp_path / "descriptions.json").write_text('{"a": 1}')
    with pytest.raises(OutputError, match=r"descriptions.json is no list of"):
        generate_textures(_options(server, tmp_path))
    (tmp_path / "descriptions.json").write_text("[]")
    (tmp_path / "manifest.jsonl").write_text("nonsense\n")
    with pytest.raises(OutputError, match=r"manifest.jsonl, line 1, is no record"):
        generate_textures(_options(server, tmp_path))
    (tmp_path / "manifest.jsonl").unlink()
    (tmp_path / "000001.png").write_bytes(picture_file(1))
    with pytest.raises(OutputError, match=r"000001.png was not made here"):
        generate_textures(_options(server, tmp_path))
    assert (tmp_path / "000001.png").read_bytes() == picture_file(1) and not server.asked


def test_two_runs_on_one_folder_do_not_pay_twice(server: ModelServer, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with TextureFolder(tmp_path).lock(), pytest.raises(OutputError, match="another run works on"):
        generate_textures(_options(server, tmp_path))
    assert not server.asked


def test_words_offline_and_no_pictures_need_no_endpoint(tmp_path: Path) -> None:
    folder = generate_textures(TextureOptions(tmp_path, count=30, descriptions="offline", pictures="none"))
    assert folder is not None and len({entry["description"] for entry in folder.descriptions}) == 30


def _pipeline(name: str, **settings: Any) -> Any:
    """What of diffusers is used: makes noise of the generator it is given."""
    if name != "mine":
        raise OSError(f"{name} is not in the cache\nand more")
    assert settings["local_files_only"] is True

    class Pipeline:
        def to(self, *_: object) -> Pipeline:
            return self

        def set_progress_bar_config(self, **_: Any) -> None:
            pass

        def __call__(self, prompt: str, height: int, width: int, generator: torch.Generator, steps: int = 1) -> Any:
            pixels = torch.randint(256, (height, width, 3), generator=generator).numpy().astype(np.uint8)
            return SimpleNamespace(images=[Image.fromarray(pixels)])

    return Pipeline()


def test_an_own_pipeline_paints_by_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = SimpleNamespace(from_pretrained=_pipeline)
    monkeypatch.setitem(sys.modules, "diffusers", SimpleNamespace(DiffusionPipeline=loader))
    options = {"count": 2, "descriptions": "offline", "pictures": "diffusers", "size": 128, "device": "cpu"}
    made = []
    for name in ("a", "b"):
        generate_textures(TextureOptions(tmp_path / name, pipeline="mine", picture_fields='{"steps": 4}', **options))  # type: ignore[arg-type]
        made.append([(record["checksum"], record["model"]) for record in _manifest(tmp_path / name)])
    assert made[0] == made[1] and len(set(made[0])) == 2 and made[0][0][1] == "mine"
    with pytest.raises(OptionError, match=r"--pipeline other cannot be loaded: other is not in the cache; wanted"):
        generate_textures(TextureOptions(tmp_path / "c", pipeline="other", **options))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="unexpected keyword argument"):
        generate_textures(TextureOptions(tmp_path / "d", pipeline="mine", picture_fields='{"no": 1}', **options))  # type: ignore[arg-type]


def test_a_missing_diffusers_is_named_with_its_cure_before_words_are_paid_for(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingDependencyError, match="pip install diffusers"):
        generate_textures(_options(server, tmp_path, pictures="diffusers", pipeline="mine"))
    assert not server.asked
