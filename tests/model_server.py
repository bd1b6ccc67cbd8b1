"""A server of models for tests, on this machine: speaks OpenAI's protocol, and misbehaves as it is told to."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Answer = tuple[int, Mapping[str, str], bytes]


def answer(value: Any, status: int = 200, **headers: str) -> Answer:
    """JSON, or text as it is; headers with _ for -."""
    body = (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
    return status, {name.replace("_", "-"): text for name, text in headers.items()}, body


def chat(content: Any) -> Answer:
    return answer({"choices": [{"message": {"role": "assistant", "content": content}}]})


def picture_file(seed: int, size: int = 160, form: str = "PNG") -> bytes:
    """A picture file of noise."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def picture(data: bytes) -> Answer:
    return answer({"data": [{"b64_json": base64.b64encode(data).decode()}]})


@dataclass
class ModelServer:
    """What was asked, and what will be answered: first what waits in `next`, then what a good server says."""

    url: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    """path, headers, fields"""
    next: list[Answer | Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    """what GET finds"""
    released: threading.Event = field(default_factory=threading.Event)
    """ends what a slow answer waits for"""

    def paths(self) -> list[str]:
        return [path.rpartition("/")[2] for path, _, _ in self.asked]

    def reply(self, path: str, fields: dict[str, Any]) -> Answer:
        if path.endswith("chat/completions"):
            things = fields["messages"][-1]["content"].splitlines()
            return chat(json.dumps([f"description {len(self.asked)} of thing {thing}" for thing in things]))
        return picture(picture_file(len(self.asked)))


@contextmanager
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, dict(self.headers), fields))
            told = server.next.pop(0) if server.next else server.reply(self.path, fields)
            if callable(told):
                told(self)
            else:
                self._send(*told)

        def do_GET(self) -> None:
            server.asked.append((self.path, dict(self.headers), {}))
            body = server.files.get(self.path)
            self._send(200 if body else 404, {}, body or b"nothing here")

        def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, text in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
        thread.join()
