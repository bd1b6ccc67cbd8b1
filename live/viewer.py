"""A page in the browser that shows what is tracked while it is tracked. Home of viser."""

from __future__ import annotations

import io
import logging
import queue
import socket
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from live.pose_output import format_address
from live.tracked_pose import TrackedPose
from live.viewer_event import ViewerEvent
from live.viewer_panel import ViewerPanel
from live.viewer_picture import PictureMaker
from live.viewer_scene import ViewerScene
from pose6d.closing import Closing
from pose6d.errors import MissingDependencyError, OptionError, OutputError
from pose6d.mesh.mesh import Mesh
from pose6d.report.scene_view import simplify_mesh
from pose6d.scenes.frame import Frame

_log = logging.getLogger(__name__)

_INTERVAL = 1 / 15  # seconds between pictures, at least
_SHARE = 1 / 4  # of one core, at most
_PAUSE = 0.5  # seconds, at most, however long one picture took
_CLOUD_EVERY = 2  # pictures
_FACTS_EVERY = 4  # pictures


@dataclass(frozen=True, eq=False)
class _Shown:
    frame: Frame
    poses: Sequence[TrackedPose]
    rate: float
    latency: float


class Viewer(Closing):
    """Serves the page; a context manager.

    Pictures are drawn and sent by a thread of its own, 15 per second at most, the newest frame each time, and only
    while a browser is connected.

    Args:
        objects: name and mesh of each, metres, in the frame of its poses.
        host: the address it listens on. The default can be reached from this machine alone; 0.0.0.0 from every machine
            in the network, and everybody there sees the camera's pictures.
        port: of TCP.

    Raises:
        MissingDependencyError: viser is not installed.
        OptionError: no such port is possible.
        OutputError: the port is in use, or the address is not one of this machine.
    """

    def __init__(self, objects: Sequence[tuple[str, Mesh]], host: str = "127.0.0.1", port: int = 8080) -> None:
        self._server = _start(host, port)
        self.url = f"http://{format_address('localhost' if host in ('0.0.0.0', '127.0.0.1') else host, port)}"
        self._events: queue.SimpleQueue[ViewerEvent] = queue.SimpleQueue()
        self._panel = ViewerPanel(self._server, [name for name, _ in objects], self._events)
        self._maker, self._scene = PictureMaker(), ViewerScene(self._server)
        self._changed = threading.Condition()
        self._newest: _Shown | None = None
        self._states: list[tuple[float, Sequence[TrackedPose]]] = []
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run, name="viewer", daemon=True),
            threading.Thread(target=self._add, args=(objects,), name="viewer's objects", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def show(self, frame: Frame, poses: Sequence[TrackedPose], rate: float, latency: float) -> None:
        """Hand over one frame; returns at once.

        Args:
            frame: as it came from the camera; must not be changed any more.
            poses: of the objects in it.
            rate: frames per second that are tracked.
            latency: seconds from the frame's arrival to its poses.
        """
        with self._changed:
            self._newest = _Shown(frame, poses, rate, latency)
            self._states.append((time.monotonic(), poses))
            self._changed.notify()

    def events(self) -> list[ViewerEvent]:
        """What the user has asked for since the last call, oldest first; never waits."""
        found = []
        while not self._events.empty():
            found.append(self._events.get())
        return found

    def set_recording(self, on: bool) -> None:
        """Show whether what the camera delivers is recorded; for when it was begun or ended elsewhere."""
        self._panel.set_recording(on)

    def close(self) -> None:
        """End the page; does nothing the second time."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        for thread in self._threads:
            thread.join()
        with redirect_stdout(io.StringIO()):  # viser says goodbye there
            self._server.stop()

    def _add(self, objects: Sequence[tuple[str, Mesh]]) -> None:
        """Get ready to draw the objects; the first pictures need not wait for it."""
        for name, mesh in objects:
            if self._closing:
                return
            vertices, faces, colors, normals = simplify_mesh(mesh)
            small = Mesh(vertices, faces, normals, colors=colors, name=mesh.name)
            self._scene.add(name, small, self._maker.add(name, small))

    def _run(self) -> None:
        """Draw and send until the page is closed."""
        sent: tuple[_Shown | None, tuple[int, ...], bool] = (None, (), False)
        count = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._states, timeout=0.2)
                if self._closing:
                    return
                shown, states, self._states = self._newest, self._states, []
            began, worked = time.monotonic(), time.thread_time()
            wanted = (shown, tuple(self._server.get_clients()), self._panel.picture_fills_scene)
            try:
                for seconds, poses in states:
                    self._panel.add(seconds, poses)
                self._scene.aim()
                if shown is not None and wanted[1] and wanted != sent:
                    self._send(shown, count)
                    count += 1
            except Exception:  # tracking goes on without the page
                _log.exception("the viewer could not show frame %s", shown.frame.name if shown else "")
            sent = wanted
            took, worked = time.monotonic() - began, time.thread_time() - worked
            time.sleep(max(_INTERVAL - took, min(worked / _SHARE, _PAUSE) - took, 0.0))

    def _send(self, shown: _Shown, count: int) -> None:
        height, width = shown.frame.rgb.shape[:2]
        picture = self._maker.draw(shown.frame, shown.poses)
        with self._server.atomic():  # what belongs to one frame is seen at once
            self._panel.show_picture(picture, (width, height))
            self._scene.hide(self._panel.picture_fills_scene)
            self._scene.show_poses(shown.poses)
            if count % _CLOUD_EVERY == 0:
                self._scene.show_cloud(shown.frame)
            if count % _FACTS_EVERY == 0:
                self._panel.show_facts(shown.rate, shown.latency)


def _start(host: str, port: int) -> Any:
    """A viser server at that address, and at no other."""
    viser = _viser()
    if not 0 < port < 65536:
        raise OptionError(f"the viewer's port is {port}: wanted 1 to 65535, such as 8080")
    where = f"the viewer cannot listen at {host}:{port}"
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass  # viser itself would go on to the next port
    except OSError as error:
        raise OutputError(
            f"{where} ({error}): another program, or another run, has the port, or the address is not this machine's; "
            "take another port, such as 8081, or another host"
        ) from error
    warnings.filterwarnings("ignore", "Queued a .* on a closed connection", UserWarning)  # a browser that just left
    with redirect_stdout(io.StringIO()):  # where poses may be written
        server = viser.ViserServer(host=host, port=port, label="pose6d", verbose=False)
    server.request_share_url = lambda *_, **__: None  # any page that connects could ask viser for a public address
    if server.get_port() != port:
        server.stop()
        raise OutputError(f"{where}: another program took the port meanwhile; take another port")
    return server


def _viser() -> ModuleType:
    try:
        import viser
    except ImportError as error:
        raise MissingDependencyError(f"the viewer needs viser ({error}): pip install 'pose6d[viewer]'") from error
    return viser
