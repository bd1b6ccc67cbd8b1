"""The folder that descriptions and pictures are kept in, so that nothing is paid for twice.

- descriptions.json: the descriptions in order; picture i is of description i
- 000000.png and so on: the pictures; each also holds its own record
- manifest.jsonl: one record a line for each picture that came, those kept and those that cannot be used
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from pose6d.errors import OutputError, listing
from pose6d.json_file import read_json, write_json
from pose6d.whole_file import whole_file, write_whole

_OWN_FILES = ("descriptions.json", "manifest.jsonl")
_TAG = "pose6d"  # under which a PNG holds its record


class TextureFolder:
    """Reads what is there, and adds to it. Nothing is written before something is added.

    A picture is written before its line of the manifest. What was killed between the two is found in the picture.

    Attributes:
        descriptions: {"description": text, "model": name, "offline" or None} each.
        records: by number: index, file (None if the picture cannot be used), rejected (why not), description, prompt,
            model, source, seed, size (height, width), checksum.

    Raises:
        OutputError: the folder holds other things, or files of ours that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise OutputError(f"--out {path} is a file: name a folder")
        others = path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir())
        if others and not any((path / name).exists() for name in _OWN_FILES):
            raise OutputError(f"--out {path} holds other things ({listing(path, 4)}): name a new folder")
        self.descriptions = self._read_descriptions()
        self.records = self._read_manifest()

    @property
    def pictures(self) -> list[dict[str, Any]]:
        """The records of the pictures that are kept."""
        return [record for record in self.records.values() if record["file"]]

    def add_descriptions(self, texts: list[str], model: str | None) -> None:
        """Keep descriptions that came from a model, or from the "offline" grammar."""
        self.descriptions += [{"description": text, "model": model} for text in texts]
        write_json(self.path / "descriptions.json", self.descriptions)

    def add_picture(self, image: Image.Image, record: dict[str, Any]) -> None:
        """Keep a picture."""
        record["file"] = _file_name(record["index"])
        text = PngImagePlugin.PngInfo()
        text.add_text(_TAG, json.dumps(record))
        with whole_file(self.path / record["file"]) as partial:
            image.save(partial, pnginfo=text)
        self.add_record(record)

    def add_record(self, record: dict[str, Any]) -> None:
        """Keep what is known of a picture."""
        self.records[record["index"]] = record
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "manifest.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody else adds to the folder inside, and what a killed run left half done is put right.

        Raises:
            OutputError: somebody else does, or a picture of another origin has a name that ours would get.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            _lock_file(lock, self.path)
            # Another run may have ended since they were read; a last line that was cut short is left out here.
            self.descriptions, self.records = self._read_descriptions(), self._read_manifest()
            for path in sorted(self.path.glob("[0-9]" * 6 + ".png")):
                if int(path.stem) not in self.records:
                    self.records[int(path.stem)] = self._read_record(path)
            if self.records:
                lines = [json.dumps(self.records[index]) + "\n" for index in sorted(self.records)]
                write_whole(self.path / "manifest.jsonl", "".join(lines))
            yield

    def _read_descriptions(self) -> list[dict[str, Any]]:
        path = self.path / "descriptions.json"
        if not path.exists():
            return []
        values = read_json(path, OutputError)
        good = isinstance(values, list) and all(
            isinstance(value, dict) and isinstance(value.get("description"), str) for value in values
        )
        if not good:
            raise OutputError(f'{path} is no list of {{"description": "...", "model": "..."}}: mend it or move it away')
        return values

    def _read_manifest(self) -> dict[int, dict[str, Any]]:
        path = self.path / "manifest.jsonl"
        if not path.exists():
            return {}
        records = {}
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):  # what follows the last end of line was cut short
            record = _parse_record(line)
            if record is None:
                raise OutputError(
                    f"{path}, line {number}, is no record of a picture: delete the line, keep the picture"
                )
            records[record["index"]] = record
        return records

    def _read_record(self, path: Path) -> dict[str, Any]:
        """The record inside a picture that the manifest lacks."""
        try:
            with Image.open(path) as image:
                record = _parse_record(image.info.get(_TAG, ""))
        except (OSError, SyntaxError, ValueError):
            record = None
        if record is None or record["file"] != path.name:
            raise OutputError(f"{path} was not made here, and has a name that is needed: move it away")
        return record


def _file_name(index: int) -> str:
    return f"{index:06d}.png"


def _parse_record(line: str | bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    good = isinstance(record, dict) and type(record.get("index")) is int and {"file", "checksum"} <= record.keys()
    return record if good else None


def _lock_file(file: Any, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(f"another run works on {folder}: wait for its end, or name another folder") from error
    except OSError:  # a file system without locks
        return
