"""The files of a run that viewers may list and load, and the snapshots they may add."""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from fusion.errors import InputError
from fusion.whole_files import written_whole
from pipeline.calibration import Calibration, write_calibration
from pipeline.control import RunEvent
from pipeline.frames import StreamResult
from pipeline.web.hub import Hub

_KINDS = {
    ".mp4": "video/mp4",
    ".mkv": "video/x-matroska",
    ".png": "image/png",
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
    ".yaml": "application/yaml",
}
_MOST_SNAPSHOTS = 1000
_MOST_CALIBRATIONS = 999
_LEAST_FREE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that can be loaded.

    Attributes:
        name: its name in the output folder.
        size_bytes: its length now.
        modified_s: when it was written to last, in seconds since 1970.
        media_type: MIME type.
    """

    name: str
    size_bytes: int
    modified_s: float
    media_type: str


class OutputFolder:
    """The run's output folder. Only plain files directly in it are shown: no links, no hidden files, no paths."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._saving: asyncio.Task[None] | None = None

    def files(self) -> list[OutputFile]:
        """What can be loaded, the newest first."""
        found = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            kind = _KINDS.get(path.suffix.lower())
            if kind is None or path.name.startswith("."):
                continue
            try:
                info = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(info.st_mode):
                found.append(
                    OutputFile(name=path.name, size_bytes=info.st_size, modified_s=info.st_mtime, media_type=kind)
                )
        return sorted(found, key=lambda file: (-file.modified_s, file.name))

    def find(self, name: str) -> tuple[Path, OutputFile] | None:
        """The file with exactly this name, out of the list: the name is never taken as a path."""
        for file in self.files():
            if file.name == name:
                return self._folder / file.name, file
        return None

    def save_snapshot_soon(self, hub: Hub) -> None:
        """Save the pictures of the newest result in a thread and tell all viewers; one at a time."""
        shown = hub.latest
        if shown is None or self._saving is not None:
            hub.announce(RunEvent(kind="refused", text="no picture yet" if shown is None else "still saving"))
            return
        self._save_soon(hub, lambda: self.save_snapshot(shown.result))

    def save_calibration_soon(self, hub: Hub) -> None:
        """Save the registration of now in a thread and tell all viewers; one at a time."""
        desk = hub.desk
        if desk is None or self._saving is not None:
            text = "this run cannot change its registration" if desk is None else "still saving"
            hub.announce(RunEvent(kind="refused", text=text))
            return
        self._save_soon(hub, lambda: [self.save_calibration(desk.calibration)])

    def _save_soon(self, hub: Hub, save: Callable[[], list[str]]) -> None:
        self._saving = asyncio.get_running_loop().create_task(self._save_and_tell(save, hub))

    async def _save_and_tell(self, save: Callable[[], list[str]], hub: Hub) -> None:
        try:
            names = await asyncio.to_thread(save)
            event = RunEvent(kind="saved", text=f"saved {names[0]}", fields={"names": names})
        except OSError as error:
            event = RunEvent(kind="warning", text=f"nothing saved: {error.strerror}")
        except InputError as error:
            event = RunEvent(kind="refused", text=str(error))
        finally:
            self._saving = None
        # Only now: who hears of it may ask for the next at once.
        hub.announce(event)

    def save_calibration(self, calibration: Calibration) -> str:
        """Write a calibration file of the next free number, which ``--calibration`` reads.

        Returns:
            Its name.

        Raises:
            OSError: the disk is nearly full, there are too many of them, or writing failed.
        """
        self._check_space()
        for number in range(1, _MOST_CALIBRATIONS + 1):
            path = self._folder / f"calibration-{number:03d}.yaml"
            if not path.exists():
                break
        else:
            raise OSError(28, f"there are {_MOST_CALIBRATIONS} calibrations already")
        with written_whole(path) as partial:
            write_calibration(calibration, partial)
        return path.name

    def save_snapshot(self, result: StreamResult) -> list[str]:
        """Write the fused, visible and thermal picture of a result (thermal with 16 bits where there are) as PNG.

        Returns:
            The names, the fused picture's first.

        Raises:
            OSError: the disk is nearly full, there are too many snapshots, or writing failed.
        """
        self._check_space()
        if len(list(self._folder.glob("snapshot-*-fused.png"))) >= _MOST_SNAPSHOTS:
            raise OSError(28, f"there are {_MOST_SNAPSHOTS} snapshots already")
        pair = result.pair
        pictures = {
            "fused": result.fused_bgr,
            "visible": pair.visible_bgr,
            "thermal": pair.thermal if pair.thermal_raw is None else pair.thermal_raw,
        }
        names = []
        for kind, picture in pictures.items():
            name = f"snapshot-{pair.index:06d}-{kind}.png"
            done, data = cv2.imencode(".png", picture)
            if not done:
                raise OSError(5, f"{name} could not be encoded")
            with written_whole(self._folder / name) as partial:
                partial.write_bytes(data.tobytes())
            names.append(name)
        return names

    def _check_space(self) -> None:
        if shutil.disk_usage(self._folder).free < _LEAST_FREE_BYTES:
            raise OSError(28, "the disk is nearly full")
