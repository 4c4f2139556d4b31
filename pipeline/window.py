"""The desktop window: a program of its own that shows the pictures it reads from its standard input.

Apart from the run, so that a missing display, a closed window or a slow one cannot harm it. Each picture comes as its
width and height (two 4-byte numbers, big end first) and its pixels (RGB). Ends with `CLOSED` when the window is closed
or the input ends, `QUIT` when q or Escape is pressed, `NO_DISPLAY` when there is none.
"""

from __future__ import annotations

import contextlib
import queue
import struct
import sys
import threading
from io import FileIO, RawIOBase

CLOSED, QUIT, NO_DISPLAY = 0, 3, 4
HEADER = struct.Struct(">II")
READY = b"ready\n"

_LOOK_MS = 8

Picture = tuple[int, int, bytes]


def read_pictures(stream: RawIOBase, latest: queue.Queue[Picture | None]) -> None:
    """Read until the end and keep only the newest picture in ``latest`` (of size 1); None at the end."""
    while True:
        header = _read(stream, HEADER.size)
        width, height = HEADER.unpack(header) if len(header) == HEADER.size else (0, 0)
        pixels = _read(stream, width * height * 3)
        picture = (width, height, pixels) if width and len(pixels) == width * height * 3 else None
        with contextlib.suppress(queue.Empty):  # when it has been shown already
            latest.get_nowait()
        latest.put(picture)
        if picture is None:
            return


def _read(stream: RawIOBase, count: int) -> bytes:
    """So many bytes, or fewer at the end of the input."""
    parts: list[bytes] = []
    while count and (part := stream.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def main() -> int:
    """Open the window and show pictures until it ends."""
    import tkinter

    try:
        root = tkinter.Tk()
    except tkinter.TclError as error:
        print(str(error).splitlines()[0], file=sys.stderr)
        return NO_DISPLAY
    root.title("rgbt-stream")
    root.configure(background="black")
    label = tkinter.Label(root, background="black", borderwidth=0)
    label.pack()
    ending = CLOSED
    latest: queue.Queue[Picture | None] = queue.Queue(1)
    photo = tkinter.PhotoImage()

    def end(code: int) -> None:
        nonlocal ending
        ending = code
        root.destroy()

    def look() -> None:
        nonlocal photo
        try:
            picture = latest.get_nowait()
        except queue.Empty:
            root.after(_LOOK_MS, look)
            return
        if picture is None:
            end(CLOSED)
            return
        width, height, pixels = picture
        photo = tkinter.PhotoImage(data=b"P6 %d %d 255\n" % (width, height) + pixels, format="PPM")
        label.configure(image=photo)
        root.after(_LOOK_MS, look)

    root.protocol("WM_DELETE_WINDOW", lambda: end(CLOSED))
    for key in ("q", "<Escape>"):
        root.bind(key, lambda _event: end(QUIT))
    # Without a buffer: its lock, held by a thread that waits for input, would abort Python's end.
    pictures = FileIO(sys.stdin.fileno(), closefd=False)
    threading.Thread(target=read_pictures, args=(pictures, latest), daemon=True).start()
    root.after(_LOOK_MS, look)
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    root.mainloop()
    return ending


if __name__ == "__main__":
    sys.exit(main())
