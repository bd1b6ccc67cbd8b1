"""The viewer's panel: the picture, the buttons, and what became of each object."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from live.state_chart import TIME_AXIS, StateHistory
from live.tracked_pose import TrackedPose
from live.viewer_event import ViewerEvent
from live.viewer_picture import fit_to_screen, screen_to_pixel

_JPEG_QUALITY = 80
_CLICK, _BOX = "Choose by click", "Choose by box"
_HINTS = {"": "", "click": "Click on the object", "box": "Drag a box around the object"}
# viser 1.1 takes the capture that a browser gives every finger for that of a handle in the scene, and ignores touches.
_LET_FINGERS_CHOOSE = (
    "<img alt='' style='display:none' src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=' onload=\""
    "window.addEventListener('pointerdown', event => {"
    "if (event.target.hasPointerCapture?.(event.pointerId)) event.target.releasePointerCapture(event.pointerId)"
    '}, true)">'
)


class ViewerPanel:
    """Picture, buttons and displays beside the scene.

    Args:
        server: a viser server.
        names: of the objects.
        events: what the user asks for is put here.
    """

    def __init__(self, server: Any, names: Sequence[str], events: queue.SimpleQueue[ViewerEvent]) -> None:
        self._server, self._events = server, events
        self._lock = threading.Lock()  # buttons are handled in threads of their own
        self._choosing: Literal["", "click", "box"] = ""
        self._size = (1, 1)  # (width, height) of the camera's picture
        self._histories = {name: StateHistory(name) for name in names}
        self._picture: Any = None
        gui = server.gui
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="large")
        gui.main_panel.dock_left()
        gui.main_panel.set_width(380)
        self._rates = gui.add_html("")
        self._charts = gui.add_html("")
        self._object = gui.add_dropdown("Object", tuple(names), visible=len(names) > 1)
        find = gui.add_button("Find again", icon="refresh", hint="Look for the object everywhere")
        self._click = gui.add_button(_CLICK, icon="hand-click", color="gray", hint=_HINTS["click"])
        self._box = gui.add_button(_BOX, icon="marquee-2", color="gray", hint=_HINTS["box"])
        self._large = gui.add_checkbox("Large picture", False, hint="The picture in place of the scene")
        self._record = gui.add_button(
            "Record", icon="player-record", color="gray", hint="Keep what the camera delivers"
        )
        stop = gui.add_button("Stop", icon="player-stop", color="red", hint="End the program")
        gui.add_html(_LET_FINGERS_CHOOSE)
        self._recording = False
        self._filled: set[int] = set()  # clients that see the picture in place of the scene

        find.on_click(lambda _: events.put(ViewerEvent("find_again", self._object.value)))
        stop.on_click(lambda _: events.put(ViewerEvent("stop")))
        self._record.on_click(lambda _: self._toggle_record())
        self._click.on_click(lambda _: self._choose("" if self._choosing == "click" else "click"))
        self._box.on_click(lambda _: self._choose("" if self._choosing == "box" else "box"))

    @property
    def picture_fills_scene(self) -> bool:
        """Whether the picture is shown in place of the scene."""
        return bool(self._choosing) or self._large.value

    def add(self, seconds: float, poses: Sequence[TrackedPose]) -> None:
        """Note the states of one frame."""
        for pose in poses:
            if pose.name in self._histories:
                self._histories[pose.name].add(seconds, pose)

    def show_facts(self, rate: float, latency: float) -> None:
        """Write rate (frames per second), latency (seconds) and the charts."""
        self._rates.content = (
            "<div style='display:flex;gap:16px;padding:6px 12px 0;font-variant-numeric:tabular-nums'>"
            f"<span><b>{rate:.1f}</b> frames/s</span><span><b>{1000 * latency:.0f}</b> ms latency</span></div>"
        )
        charts = "".join(history.html() for history in self._histories.values())
        self._charts.content = f"<div style='padding:2px 12px 8px'>{charts}{TIME_AXIS}</div>"

    def show_picture(self, picture: np.ndarray, size: tuple[int, int]) -> None:
        """Show what `PictureMaker` drew; `size` is (width, height) of the camera's own picture."""
        self._size = size
        if self._picture is None:
            self._picture = self._server.gui.add_image(picture, format="jpeg", jpeg_quality=_JPEG_QUALITY, order=-1)
        else:
            self._picture.image = picture
        hint, fills = _HINTS[self._choosing], self.picture_fills_scene
        for number, client in self._server.get_clients().items():
            if fills or number in self._filled:
                filled = fit_to_screen(picture, client.camera.aspect, hint) if fills else None
                client.scene.set_background_image(filled, format="jpeg", jpeg_quality=_JPEG_QUALITY)
            (self._filled.add if fills else self._filled.discard)(number)

    def set_recording(self, on: bool) -> None:
        """Show whether what the camera delivers is kept."""
        self._recording = on
        self._record.label = "Stop recording" if on else "Record"
        self._record.color = "red" if on else "gray"

    def _toggle_record(self) -> None:
        self.set_recording(not self._recording)
        self._events.put(ViewerEvent("record", on=self._recording))

    def _choose(self, how: Literal["", "click", "box"]) -> None:
        """Begin to wait for a place in the picture, or end it."""
        with self._lock:
            scene = self._server.scene
            if self._choosing == "click":
                scene.remove_click_callback("all")
            if self._choosing == "box":
                scene.remove_rect_select_callback("all")
            self._choosing = how
            if how == "click":
                scene.on_click()(self._on_click)
            if how == "box":
                scene.on_rect_select()(self._on_box)
            for button, kind, label in ((self._click, "click", _CLICK), (self._box, "box", _BOX)):
                button.label, button.color = ("Cancel", "orange") if how == kind else (label, "gray")

    def _on_click(self, event: Any) -> None:
        self._events.put(ViewerEvent("point", self._object.value, self._pixel(event, event.screen_pos)))
        self._choose("")

    def _on_box(self, event: Any) -> None:
        left, top = self._pixel(event, event.screen_min)
        right, bottom = self._pixel(event, event.screen_max)
        if right > left and bottom > top:
            box = (left, top, right - left + 1, bottom - top + 1)
            self._events.put(ViewerEvent("box", self._object.value, box))
            self._choose("")

    def _pixel(self, event: Any, place: tuple[float, float]) -> tuple[int, int]:
        return screen_to_pixel(place, self._size, event.client.camera.aspect)
