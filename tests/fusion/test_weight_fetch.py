"""Fetching of official weights, from a server on this machine."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from fusion.checkpoints import read_state_dict
from fusion.errors import InputError, RunError
from fusion.factory import fusion_weight_recipes
from fusion.nestfuse import NestFuse, NestFuseConfig
from fusion.weight_fetch import Origin, OriginFile, fetch_weights, github_file
from fusion.weight_origins import FUSION_ORIGINS
from fusion.weight_store import find_weights, weights_directory

REPO = Path(__file__).parents[2]
SHARED = REPO.parent / "shared" / "data" / "weights"


@dataclass
class Site:
    """A web server: its files by path, what it was asked, and its habits."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    breaks_after: int | None = None


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.asked.append((self.path, wanted))
            if self.path not in site.files:
                self.send_error(404)
                return
            body, start = site.files[self.path], 0
            if wanted and site.ranges:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start:][: site.breaks_after])

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RGBT_STREAM_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return weights_directory()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("official") / "official.model"
    torch.manual_seed(3)
    torch.save(NestFuse(NestFuseConfig(channels=(4, 6, 8, 10), stem_channels=4)).state_dict(), path)
    return path.read_bytes()


def origin_of(site: Site, content: bytes, name: str = "nestfuse") -> Origin:
    site.files["/a/b/official.model"] = content
    file = OriginFile(
        url=f"{site.url}/a/b/official.model", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    return Origin(name=name, files=(file,), licence="free")


def part_of(store: Path) -> Path:
    return store / "downloads" / "nestfuse" / "official.model.part"


def test_fetched_weights_are_verified_imported_and_leave_nothing_else(
    site: Site, store: Path, checkpoint: bytes, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    stored = fetch_weights(
        "nestfuse",
        [origin_of(site, checkpoint)],
        fusion_weight_recipes(),
        progress=lambda *news: told.append(news),
    )
    assert find_weights("nestfuse") == stored
    (tmp_path / "same.model").write_bytes(checkpoint)
    original, fetched = read_state_dict(tmp_path / "same.model"), read_state_dict(stored)
    assert all(torch.equal(original[key], fetched[key]) for key in original)
    assert told[-1] == ("official.model", len(checkpoint), len(checkpoint))
    assert not any((store / "downloads").iterdir())


def test_a_broken_download_goes_on_where_it_stopped(site: Site, store: Path, checkpoint: bytes) -> None:
    origins = [origin_of(site, checkpoint)]
    site.breaks_after = 1000
    with pytest.raises(RunError, match="after 1000 of"):
        fetch_weights("nestfuse", origins, fusion_weight_recipes())
    assert part_of(store).read_bytes() == checkpoint[:1000]
    assert find_weights("nestfuse") != store / "nestfuse.safetensors"
    site.breaks_after = None
    fetch_weights("nestfuse", origins, fusion_weight_recipes())
    assert [wanted for _, wanted in site.asked] == [None, "bytes=1000-"]
    assert (store / "nestfuse.safetensors").is_file()


@pytest.mark.parametrize("kept", [b"x" * 700, b"x" * 10_000_000])
def test_a_server_without_ranges_or_a_part_too_long_starts_anew(
    site: Site, store: Path, checkpoint: bytes, kept: bytes
) -> None:
    site.ranges = False
    part_of(store).parent.mkdir(parents=True)
    part_of(store).write_bytes(kept)
    fetch_weights("nestfuse", [origin_of(site, checkpoint)], fusion_weight_recipes())
    assert (store / "nestfuse.safetensors").is_file()


def test_a_file_of_another_content_or_size_is_not_imported(site: Site, store: Path, checkpoint: bytes) -> None:
    origins = [origin_of(site, checkpoint)]
    for wrong in (checkpoint[:-1] + b"?", checkpoint + b"more", checkpoint * 2):
        site.files["/a/b/official.model"] = wrong
        with pytest.raises(RunError, match="not the published file and not imported"):
            fetch_weights("nestfuse", origins, fusion_weight_recipes())
        assert not part_of(store).exists()
        assert not (store / "nestfuse.safetensors").exists()
    site.files["/a/b/official.model"] = checkpoint[:-10]
    with pytest.raises(RunError, match="broke off"):
        fetch_weights("nestfuse", origins, fusion_weight_recipes())
    assert not (store / "nestfuse.safetensors").exists()


def test_a_part_of_a_wrong_file_does_not_stay_in_the_way(site: Site, store: Path, checkpoint: bytes) -> None:
    part_of(store).parent.mkdir(parents=True)
    part_of(store).write_bytes(b"x" * 500)
    origins = [origin_of(site, checkpoint)]
    with pytest.raises(RunError, match="not the published file"):
        fetch_weights("nestfuse", origins, fusion_weight_recipes())
    fetch_weights("nestfuse", origins, fusion_weight_recipes())
    assert (store / "nestfuse.safetensors").is_file()


def test_without_server_or_file_the_message_has_address_and_manual_way(site: Site, checkpoint: bytes) -> None:
    origin = origin_of(site, checkpoint)
    site.files.clear()
    with pytest.raises(RunError, match=r"official\.model: the server answers 404 .*weights import FILE --as nestfuse"):
        fetch_weights("nestfuse", [origin], fusion_weight_recipes())
    # Port 9 (discard) is not served here.
    with pytest.raises(RunError, match=r"127\.0\.0\.1:9/a/b/official\.model: no download \(Connection refused\); or"):
        fetch_weights("nestfuse", [origin], fusion_weight_recipes(), url_base="http://127.0.0.1:9")


def test_several_files_become_one_import_through_a_mirror(site: Site, store: Path) -> None:
    folder = SHARED / "auif"
    if not folder.is_dir():
        pytest.skip("the official AUIF weights are not here")
    origin = next(each for each in FUSION_ORIGINS if each.name == "auif")
    for file in origin.files:
        path = file.url.removeprefix("https://raw.githubusercontent.com")
        site.files[f"/mirror{path}"] = (folder / file.name).read_bytes()
    stored = fetch_weights("auif", FUSION_ORIGINS, fusion_weight_recipes(), url_base=f"{site.url}/mirror/")
    assert stored == store / "auif.safetensors"
    assert len(site.asked) == len(origin.files) == 3


def test_names_without_origin_and_unusable_mirrors_are_refused() -> None:
    recipes = fusion_weight_recipes()
    for name, base, message in (
        ("nestfuse", None, r"no public origin .*weights import FILE --as nestfuse"),
        ("aiuf", None, "did you mean auif"),
        ("auif", "ftp://somewhere/", "--url-base ftp://somewhere/"),
        ("auif", "mirror", "--url-base mirror"),
    ):
        with pytest.raises(InputError, match=message):
            fetch_weights(name, FUSION_ORIGINS, recipes, url_base=base)


def test_every_origin_can_be_imported_and_is_what_was_published() -> None:
    names = {recipe.name for recipe in fusion_weight_recipes()}
    assert {origin.name for origin in FUSION_ORIGINS} <= names
    for origin in FUSION_ORIGINS:
        for file in origin.files:
            assert re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/.+", file.url)
            copies = list(SHARED.glob(f"*/{file.name}"))
            for copy in copies:
                assert hashlib.sha256(copy.read_bytes()).hexdigest() == file.sha256
                assert copy.stat().st_size == file.size_bytes


def test_a_github_file_is_pinned_to_its_commit() -> None:
    file = github_file("owner/name", "abc", "folder/x.pth", 7, "00")
    assert (file.url, file.name) == ("https://raw.githubusercontent.com/owner/name/abc/folder/x.pth", "x.pth")
