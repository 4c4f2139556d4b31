"""Makes the picture of the README from the demo's video: python scripts/readme_picture.py out/demo/fused.mp4"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

# isort: split
import av
import numpy as np

MOMENTS = (8, 120)  # by day and by night
OUTPUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.jpg"


def main(video: str) -> None:
    """Put the chosen frames of `video` side by side into docs/images/demo.jpg."""
    with av.open(video) as container:
        pictures = [
            frame.to_ndarray(format="bgr24")
            for index, frame in enumerate(container.decode(video=0))
            if index in MOMENTS
        ]
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(OUTPUT), np.hstack(pictures), [cv2.IMWRITE_JPEG_QUALITY, 88]):
        raise SystemExit(f"{OUTPUT} could not be written")


if __name__ == "__main__":
    main(sys.argv[1])
