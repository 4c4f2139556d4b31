"""What a person can tell the live page."""

from __future__ import annotations

from dataclasses import dataclass

from fusion.errors import InputError
from pipeline.web.security import parse_address


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The live page.

    Attributes:
        address: where to listen, ``HOST:PORT``; port 0 takes a free one; None serves no page.
        token: what everybody must know to watch and steer; needed where others can connect.
        quality: JPEG quality of the preview, 1..100.
        most_wide: wider pictures are scaled down to so many pixels for the preview.
        most_viewers: viewers at the same time.
    """

    address: str | None = None
    token: str | None = None
    quality: int = 80
    most_wide: int = 1600
    most_viewers: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise InputError(f"web.quality must be between 1 and 100, not {self.quality}")
        if self.most_wide < 64:
            raise InputError(f"web.most_wide must be at least 64 pixels, not {self.most_wide}")
        if not 1 <= self.most_viewers <= 100:
            raise InputError(f"web.most_viewers must be between 1 and 100, not {self.most_viewers}")
        if self.address is not None:
            parse_address(self.address, self.token)
