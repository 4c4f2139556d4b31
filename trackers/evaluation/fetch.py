"""Downloads a VOT dataset from the server of a challenge, resumes, and verifies what was unpacked.

The server offers a ``description.json``: for each sequence the archive of its annotations and one per channel, with
addresses relative to the description. A sequence appears under its name only when every channel has as many pictures
as the ground truth has lines, so an interrupted or incomplete download never looks finished.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion.errors import InputError, RunError
from trackers.evaluation.dataset import list_pictures, read_groundtruth

_TIMEOUT_S = 60
_BLOCK = 1 << 20
_ATTEMPTS = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSummary:
    """Sequences that were there, sequences fetched now, and frames in all."""

    kept: int
    fetched: int
    frames: int


def fetch_dataset(
    url: str, out: Path, *, expected: Mapping[str, int] | None = None, say: Say = lambda text: None
) -> FetchSummary:
    """Fetch all sequences that a description lists into VOT's layout.

    Args:
        url: address of the ``description.json``.
        out: folder of the dataset; ``list.txt`` is written when everything is complete.
        expected: frames of each sequence, if known; anything else is a failure.
        say: told about each sequence.

    Raises:
        InputError: the address or what it gives is no description.
        RunError: a sequence could not be fetched or is incomplete; the others are kept, and a second call goes on.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"--url {url} is no http or https address of a description.json")
    entries = _read_description(url)
    if expected is not None:
        _compare_names(url, entries, expected)
    out.mkdir(parents=True, exist_ok=True)
    kept = fetched = frames = 0
    problems = []
    for name, entry in entries.items():
        wanted = expected.get(name) if expected is not None else None
        try:
            if (out / name).is_dir():
                frames += _verify(out / name, wanted)
                kept += 1
                continue
            frames += _fetch_sequence(url, out, name, entry, wanted)
            fetched += 1
            say(f"[{kept + fetched}/{len(entries)}] {name}")
        except (InputError, RunError, OSError, zipfile.BadZipFile, urllib.error.URLError) as error:
            problems.append(f"{name}: {_reason(error)}")
            say(f"{name} failed: {_reason(error)}")
    if problems:
        raise RunError(
            f"{len(problems)} of {len(entries)} sequences are not complete: {'; '.join(problems[:3])}\n"
            f"{kept + fetched} are there; run the same command again to go on"
        )
    (out / "list.txt").write_text("".join(f"{name}\n" for name in entries))
    return FetchSummary(kept=kept, fetched=fetched, frames=frames)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error)


def _read_description(url: str) -> dict[str, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            content = json.loads(answer.read())
        entries = {str(entry["name"]): entry for entry in content["sequences"]}
        for name, entry in entries.items():
            if Path(name).name != name or name.startswith("."):
                raise InputError(f"--url {url} names a sequence '{name}', which is no plain name")
            for part in (entry["annotations"], *entry["channels"].values()):
                str(part["url"])
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--url {url} is no description.json of a VOT dataset ({error})") from error
    except (OSError, urllib.error.URLError) as error:
        raise RunError(f"{url} cannot be read: {_reason(error)}") from error
    if not entries:
        raise InputError(f"--url {url} lists no sequences")
    return entries


def _compare_names(url: str, entries: Mapping[str, object], expected: Mapping[str, int]) -> None:
    missing = [name for name in expected if name not in entries]
    if missing:
        raise InputError(
            f"--url {url} lacks {len(missing)} of {len(expected)} sequences ({', '.join(missing[:5])}); is it of "
            "another dataset?"
        )


def _fetch_sequence(url: str, out: Path, name: str, entry: Mapping[str, Any], wanted: int | None) -> int:
    working = out / ".download" / name
    working.mkdir(parents=True, exist_ok=True)
    unpacked = working / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    archive = working / "annotations.zip"
    _download(urllib.parse.urljoin(url, entry["annotations"]["url"]), archive, entry["annotations"])
    _unpack(archive, unpacked)
    lines = [f"name={name}", f"fps={entry.get('fps', 30)}", "format=default"]
    for channel, part in entry["channels"].items():
        if Path(channel).name != channel:
            raise InputError(f"the description names a channel '{channel}', which is no plain name")
        archive = working / f"{channel}.zip"
        _download(urllib.parse.urljoin(url, part["url"]), archive, part)
        _unpack(archive, unpacked / channel)
        lines.append(f"channels.{channel}={channel}/{part.get('pattern', '')}")
    (unpacked / "sequence").write_text("\n".join(lines) + "\n")
    frames = _verify(unpacked, wanted)
    unpacked.replace(out / name)
    shutil.rmtree(working)
    return frames


def _verify(folder: Path, wanted: int | None) -> int:
    """Frames of a sequence whose channels all have as many pictures as the ground truth has lines.

    Raises:
        RunError: the counts differ.
    """
    frames = len(read_groundtruth(folder / "groundtruth.txt"))
    if wanted is not None and frames != wanted:
        raise RunError(f"{frames} lines of ground truth instead of {wanted}")
    channels = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    if not channels:
        raise RunError(f"{folder} holds no pictures")
    for channel in channels:
        pictures = len(list_pictures(channel))
        if pictures != frames:
            raise RunError(f"{pictures} pictures in channel {channel.name} for {frames} lines of ground truth")
    return frames


def _download(url: str, target: Path, facts: Mapping[str, Any]) -> None:
    """Fetch a file, going on from what an earlier attempt left.

    Raises:
        RunError: size or checksum are not those that the description states, or the server refuses.
    """
    if target.is_file():
        return
    partial = target.with_suffix(".part")
    problem = ""
    for _ in range(_ATTEMPTS):
        try:
            _fetch_rest(url, partial)
        except urllib.error.HTTPError as error:
            raise RunError(f"{url}: the server says {error.code} {error.reason}") from error
        except (urllib.error.URLError, OSError) as error:
            problem = _reason(error)
            continue
        problem = _difference(partial, facts)
        if not problem:
            partial.replace(target)
            return
        if "bytes instead of" not in problem or partial.stat().st_size > int(facts["compressed"]):
            partial.unlink()
    raise RunError(f"{url}: {problem}")


def _fetch_rest(url: str, partial: Path) -> None:
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send
            error.close()
            return
        raise
    with answer:
        resumes = answer.status == 206
        with partial.open("ab" if resumes else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
        length = answer.headers.get("Content-Length")
    begin = have if resumes else 0
    if length is not None and partial.stat().st_size - begin != int(length):
        raise OSError(f"the connection ended after {partial.stat().st_size - begin} of {length} bytes")


def _difference(path: Path, facts: Mapping[str, Any]) -> str:
    size = path.stat().st_size
    if isinstance(facts.get("compressed"), int) and size != facts["compressed"]:
        return f"{size} bytes instead of {facts['compressed']}"
    checksum = facts.get("checksum")
    if isinstance(checksum, str) and len(checksum) in (40, 64):
        digest = hashlib.sha1(usedforsecurity=False) if len(checksum) == 40 else hashlib.sha256()
        digest.update(path.read_bytes())
        if digest.hexdigest() != checksum.lower():
            return "the checksum differs from the description"
    if not zipfile.is_zipfile(path):
        return "what the server sent is no zip archive"
    return ""


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            target = (folder / member.filename).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise RunError(f"{archive.name} holds {member.filename}, which leads out of its folder")
        content.extractall(folder)
