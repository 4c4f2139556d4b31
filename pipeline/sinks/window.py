"""Shows the run in a desktop window, which lives in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import cv2

from fusion.errors import InputError
from pipeline import window
from pipeline.frames import StreamResult
from pipeline.handover import Handover, HandoverClosed
from pipeline.overlay import Overlay
from pipeline.window import HEADER, QUIT, READY

_CLOSE_GRACE_S = 2.0


class WindowSink:
    """Passes the newest picture to the window; a slow or closed window never slows the run.

    Args:
        overlay: draws targets and status.
        quit_run: called when q or Escape is pressed in the window.
        program: what shows the window.

    Raises:
        InputError: no window can be opened here.
    """

    def __init__(
        self, overlay: Overlay, quit_run: Callable[[], None], *, program: Path = Path(window.__file__)
    ) -> None:
        self._overlay = overlay
        self._quit_run = quit_run
        self._pictures: Handover[StreamResult] = Handover(1, latest_wins=True)
        self._process = subprocess.Popen(
            # By its file: it needs nothing of the package, and starts where that is not installed.
            [sys.executable, "-P", str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C is for the run; the window ends with it.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != READY:
            _, errors = self._process.communicate()
            reason = errors.decode(errors="replace").strip().splitlines()[-1:] or ["its program ended at once"]
            raise InputError(f"--window: no window can be opened here ({reason[0]}); use --web, or watch the recording")
        self._thread = threading.Thread(target=self._send, name="window", daemon=True)
        self._thread.start()

    def write(self, result: StreamResult) -> None:
        """Show one result unless a newer one comes first."""
        with contextlib.suppress(HandoverClosed):
            self._pictures.put(result)

    def close(self) -> None:
        """Close the window; safe to call twice."""
        self._pictures.finish()
        self._thread.join(_CLOSE_GRACE_S)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _send(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            for result in self._pictures.drain():
                picture = cv2.cvtColor(self._overlay.draw(result), cv2.COLOR_BGR2RGB)
                pipe.write(HEADER.pack(picture.shape[1], picture.shape[0]))
                pipe.write(picture.tobytes())
                pipe.flush()
            pipe.close()
        except (BrokenPipeError, ValueError):
            if self._process.wait() == QUIT:
                self._quit_run()
        finally:
            self._pictures.close()
