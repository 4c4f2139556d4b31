"""Where the official weights of the trackers are published."""

from __future__ import annotations

from fusion.weight_fetch import Origin, github_file

_SIAM_TRACKERS = ("HonglinChu/SiamTrackers", "248663fde6bf7c40190cf10ee396d5662919ecd3")


def _nanotrack(name: str, file: str, size_bytes: int, sha256: str) -> Origin:
    return Origin(
        name=name,
        files=(github_file(*_SIAM_TRACKERS, f"NanoTrack/models/pretrained/{file}", size_bytes, sha256),),
        licence="Apache-2.0",
    )


TRACKER_ORIGINS: tuple[Origin, ...] = (
    _nanotrack(
        "nanotrack", "nanotrackv2.pth", 2095829, "938a320c560fd8c8d6a148a76a072bca29c529ce16591c9a2157859ee0ecc5e1"
    ),
    _nanotrack(
        "nanotrack-v3", "nanotrackv3.pth", 3498955, "4f0d25108385a67bdec5fa01ca37c74acb72343b53996dd645fe18b86e512e69"
    ),
)
"""What ``weights fetch`` can download for trackers. PySOT's models are on a drive without fixed addresses."""
