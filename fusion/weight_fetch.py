"""Download of official weights from where their authors publish them, verified before they are imported.

Which files a name stands for is said by :class:`Origin` values, with the size and sha256 that each file must have; the
packages offer theirs and the command line puts them together. A download that breaks off is resumed by the next one.
"""

from __future__ import annotations

import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from fusion.errors import InputError, RunError
from fusion.weight_store import DIRECTORY_VARIABLE, WeightRecipe, file_digest, import_weights, weights_directory

Progress = Callable[[str, int, int], None]
"""Called with a file's name, its bytes so far and its bytes in all."""

_CHUNK_BYTES = 64 * 1024
_TIMEOUT_S = 30.0
_PARTIAL = 206
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginFile:
    """One published file.

    Attributes:
        url: where it is, pinned to one version.
        size_bytes: its size.
        sha256: its digest, hexadecimal.
    """

    url: str
    size_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the official weights of a method come from.

    Attributes:
        name: the method, as in :class:`fusion.weight_store.WeightRecipe`.
        files: one file, or several that together are the weights.
        licence: under which terms they are published, for the user to read.
    """

    name: str
    files: tuple[OriginFile, ...]
    licence: str

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.size_bytes for file in self.files)


def github_file(repository: str, commit: str, path: str, size_bytes: int, sha256: str) -> OriginFile:
    """A file of a GitHub repository ``owner/name`` as it was at a commit."""
    url = f"https://raw.githubusercontent.com/{repository}/{commit}/{path}"
    return OriginFile(url=url, size_bytes=size_bytes, sha256=sha256)


def fetch_weights(
    name: str,
    origins: Sequence[Origin],
    recipes: Sequence[WeightRecipe],
    *,
    url_base: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download the official weights of ``name``, verify size and sha256 of every file, and import them.

    Args:
        name: the method or tracker.
        origins: what can be fetched.
        recipes: what can be imported.
        url_base: address of a mirror that stands in for scheme and host of every address, e.g.
            ``https://mirror.example/github``.
        progress: told how far each file is.

    Returns:
        The stored weights, as :func:`fusion.weight_store.import_weights`.

    Raises:
        InputError: an unknown name, one without a public origin, or an unusable ``url_base`` or folder.
        RunError: no connection, or what came is not the published file; nothing was imported.
    """
    origin = _chosen(name, origins, recipes)
    urls = [_mirrored(file.url, url_base) for file in origin.files]
    folder = weights_directory() / "downloads" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {folder} ({error.strerror}); set ${DIRECTORY_VARIABLE} to another folder"
        ) from error
    for file, url in zip(origin.files, urls, strict=True):
        fetch_file(file, url, folder / file.name, f"weights import {_manual(origin)} --as {name}", progress)
    stored = import_weights(folder if len(origin.files) > 1 else folder / origin.files[0].name, name, recipes)
    shutil.rmtree(folder)
    return stored


def fetch_file(file: OriginFile, url: str, target: Path, manual: str, progress: Progress | None = None) -> None:
    """Bring ``target`` to hold exactly the published file; a ``.part`` beside it is continued.

    Args:
        file: what it must be.
        url: where to load it from.
        target: the file to make; left alone when it is right already.
        manual: command that does the import after a download by other means, for messages.
        progress: told how far it is.

    Raises:
        RunError: no connection or an incomplete answer (the part is kept), or another size or digest (removed).
    """
    if target.is_file() and target.stat().st_size == file.size_bytes and file_digest(target) == file.sha256:
        return
    part = target.with_name(f"{target.name}.part")
    try:
        if not part.is_file() or part.stat().st_size != file.size_bytes:
            _download(file, url, part, progress)
    except urllib.error.HTTPError as error:
        error.close()
        raise RunError(f"{url}: the server answers {error.code} {error.reason}; {_by_hand(url, manual)}") from error
    except (OSError, http.client.HTTPException) as error:
        # URLError, timeouts and resets are OSErrors; so are a full disk and a folder that cannot be written.
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise RunError(f"{url}: no download ({_reason(error)}); {_by_hand(url, manual)}") from error
    size = part.stat().st_size
    if size < file.size_bytes:
        raise RunError(f"{url}: the connection broke off after {size} of {file.size_bytes} bytes; run again to go on")
    digest = file_digest(part)
    if size != file.size_bytes or digest != file.sha256:
        part.unlink()
        raise RunError(
            f"{url}: not the published file and not imported: {size} bytes, sha256 {digest[:16]}..., expected "
            f"{file.size_bytes} bytes, {file.sha256[:16]}...; try again, or another --url-base"
        )
    part.replace(target)


def _download(file: OriginFile, url: str, part: Path, progress: Progress | None) -> None:
    """Write the answer of ``url`` to ``part``, after what is there already; at most one byte more than expected."""
    present = part.stat().st_size if part.is_file() else 0
    if present > file.size_bytes:
        present = 0
    headers = {"User-Agent": "rgbt-stream", "Accept-Encoding": "identity"}
    if present:
        headers["Range"] = f"bytes={present}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != _RANGE_NOT_SATISFIABLE or not present:
            raise
        error.close()
        part.unlink()
        _download(file, url, part, progress)
        return
    with response:
        # A server that knows no ranges sends the whole file.
        continues = response.status == _PARTIAL and _range_start(response.headers.get("Content-Range")) == present
        if response.status == _PARTIAL and not continues:
            raise http.client.HTTPException("the server sends another part than asked for")
        done = present if continues else 0
        with part.open("ab" if continues else "wb") as output:
            while chunk := response.read(min(_CHUNK_BYTES, file.size_bytes + 1 - done)):
                output.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(file.name, min(done, file.size_bytes), file.size_bytes)


def _range_start(header: str | None) -> int | None:
    match = re.match(r"bytes (\d+)-", header or "")
    return int(match[1]) if match else None


def _chosen(name: str, origins: Sequence[Origin], recipes: Sequence[WeightRecipe]) -> Origin:
    by_name = {origin.name: origin for origin in origins}
    if name in by_name:
        return by_name[name]
    for recipe in recipes:
        if recipe.name == name:
            raise InputError(
                f"weights fetch {name}: it has no public origin to download from. {recipe.origin} "
                f"With a file at hand: 'weights import FILE --as {name}'"
            )
    near = get_close_matches(name, by_name, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise InputError(f"weights fetch {name}: what can be fetched is {', '.join(sorted(by_name))}{hint}")


def _mirrored(url: str, url_base: str | None) -> str:
    if url_base is None:
        return url
    base = urlsplit(url_base)
    if base.scheme not in ("http", "https") or not base.netloc:
        raise InputError(f"--url-base {url_base}: write an address such as https://mirror.example/github")
    return url_base.rstrip("/") + urlsplit(url).path


def _manual(origin: Origin) -> str:
    return "FOLDER" if len(origin.files) > 1 else "FILE"


def _by_hand(url: str, manual: str) -> str:
    return f"or download {url.rsplit('/', 1)[-1]} there in another way and use '{manual}'"


def _reason(error: BaseException) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(error).__name__
