"""Published folder layouts, dataset check, and fetching from a local server that fails in many ways."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fusion.errors import InputError, RunError
from pipeline.cli.main import run
from trackers.evaluation.benchmarks import benchmark
from trackers.evaluation.check import check_dataset
from trackers.evaluation.fetch import fetch_dataset
from trackers.evaluation.frames import SequenceFrames, check_pictures
from trackers.evaluation.layouts import read_dataset
from trackers.evaluation.one_pass import one_pass_curves
from trackers.state import Modality


def pictures(folder: Path, names: list[str], size_wh: tuple[int, int] = (32, 24)) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full(size_wh[::-1], 10 * number, np.uint8))


def test_vot_rgbt2019_as_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "afterrain"
    pictures(folder / "color", [f"{k:05d}v.jpg" for k in range(1, 12)])
    pictures(folder / "ir", [f"{k:05d}i.jpg" for k in range(1, 12)])
    (folder / "groundtruth.txt").write_text("1,1,9,1,9,9,1,9\n" * 11)
    (sequence,) = read_dataset(tmp_path).sequences
    assert (sequence.width, sequence.height) == (32, 24)
    assert sequence.channels["ir"][10].name == "00011i.jpg"
    check_pictures(sequence, Modality.FUSED)
    assert SequenceFrames(sequence, Modality.FUSED)[3].thermal[0, 0] == 30
    (folder / "ir" / "00004i.jpg").unlink()
    (sequence,) = read_dataset(tmp_path).sequences
    with pytest.raises(InputError, match="color 11, ir 10"):
        check_pictures(sequence, Modality.FUSED)


def test_rgbt234_has_an_annotation_for_each_channel(tmp_path: Path) -> None:
    folder = tmp_path / "bike"
    # Numbers of unequal width, as some sequences have them, are put in the order of the numbers.
    pictures(folder / "visible", [f"{k}v.jpg" for k in (8, 9, 10)])
    pictures(folder / "infrared", [f"{k}i.jpg" for k in (8, 9, 10)])
    (folder / "visible.txt").write_text("1,2,10,10\n2,2,10,10\n3,2,10,10\n")
    (folder / "infrared.txt").write_text("1,2,10,10\n2,2,10,10\n13,2,10,10\n")
    (folder / "init.txt").write_text("1,2,10,10\n")
    (sequence,) = read_dataset(tmp_path).sequences
    assert [path.name for path in sequence.channels["color"]] == ["8v.jpg", "9v.jpg", "10v.jpg"]
    assert sequence.alternative is not None
    curves = one_pass_curves(sequence.alternative, sequence.groundtruth, sequence.alternative)
    assert curves.precision[0] == 1
    assert one_pass_curves(sequence.alternative, sequence.groundtruth).precision[0] == pytest.approx(2 / 3)


def test_lasher_with_init_only_and_tabs(tmp_path: Path) -> None:
    folder = tmp_path / "1boygo"
    pictures(folder / "visible", ["v0000.jpg", "v0001.jpg"])
    pictures(folder / "infrared", ["i0000.jpg", "i0001.jpg"])
    (folder / "init.txt").write_text("1\t2\t10\t10\n2\t2\t10\t10\n")
    (sequence,) = read_dataset(tmp_path).sequences
    assert sequence.groundtruth.row(1) == (2, 2, 10, 10)
    assert sequence.alternative is None


def test_gtot_writes_corners(tmp_path: Path) -> None:
    folder = tmp_path / "BlackCar"
    pictures(folder / "v", ["00001v.png", "00002v.png"])
    pictures(folder / "i", ["00001i.bmp", "00002i.bmp"])
    (folder / "groundTruth_v.txt").write_text("3 4 13 9\n13 9 3 4\n")
    (folder / "groundTruth_i.txt").write_text("3 4 13 9\n3 4 14 9\n")
    (sequence,) = read_dataset(tmp_path).sequences
    assert sequence.groundtruth.row(1) == (3, 4, 10, 5)
    (folder / "groundTruth_i.txt").write_text("3 4 13 9\n")
    with pytest.raises(InputError, match=r"1 lines, but .* has 2"):
        read_dataset(tmp_path)
    (folder / "groundTruth_i.txt").write_text("3 4 13 9\n3 4 9 9 9 9\n")
    with pytest.raises(InputError, match=r"groundTruth_i\.txt, line 2: two corners"):
        read_dataset(tmp_path)


def test_a_listed_folder_without_annotation(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("empty\n")
    with pytest.raises(InputError, match="is no sequence"):
        read_dataset(tmp_path)


def test_check_lists_everything_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def make(name: str, truth: str) -> Path:
        folder = tmp_path / name
        for channel in ("color", "ir"):
            pictures(folder / channel, [f"{k:08d}.jpg" for k in (1, 2, 3)])
        (folder / "groundtruth.txt").write_text(truth)
        return folder

    good = "1,2,10,10\n" * 3
    make("a_good", good)
    assert check_dataset(tmp_path).errors == ()
    assert run(["dataset", "check", "--data", str(tmp_path)]) == 0
    (make("b_missing", good) / "ir" / "00000003.jpg").unlink()
    (make("c_damaged", good) / "color" / "00000002.jpg").write_bytes(b"x")
    make("d_nan", "1,2,10,10\nnan,2,10,10\n1,2,10,10\n")
    make("e_outside", "1,2,10,10\n1,2,10,10\n100,2,10,10\n")
    resized = make("f_resized", good) / "ir"
    cv2.imwrite(str(resized / "00000003.jpg"), np.zeros((12, 16), np.uint8))
    make("g_empty", "1,2,10,10\n1,2,0,10\n1,2,10,10\n")
    report = check_dataset(tmp_path)
    for part, text in zip(
        (
            "b_missing: 2 pictures in channel ir",
            "c_damaged/color/00000002.jpg is damaged",
            "d_nan/groundtruth.txt, line 2",
            "e_outside/groundtruth.txt, line 3: the region lies outside",
            "f_resized/ir/00000003.jpg: 16 x 12 pixels",
        ),
        report.errors,
        strict=True,
    ):
        assert part in text
    assert any("g_empty/groundtruth.txt, line 2: the region has no area" in text for text in report.warnings)
    assert run(["dataset", "check", "--data", str(tmp_path)]) == 1
    assert "5 errors" in capsys.readouterr().out
    assert any("60 sequences of vot-rgbt2019 are missing" in text for text in _expected_errors(tmp_path))


def _expected_errors(root: Path) -> tuple[str, ...]:
    return check_dataset(root, expected=benchmark("vot-rgbt2019")).errors


def test_the_benchmark_is_the_published_one() -> None:
    sequences = benchmark("vot-rgbt2019").sequences
    assert (len(sequences), sum(sequences.values())) == (60, 20083)


@dataclass
class Server:
    """A local server: files, addresses that break off once, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    break_off: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, state: Server, *arguments: Any) -> None:
        self.state = state
        super().__init__(*arguments)

    def do_GET(self) -> None:
        span = self.headers.get("Range", "")
        self.state.asked.append((self.path, span))
        data = self.state.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        begin = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        if begin >= len(data) > 0:
            self.send_error(416)
            return
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        stop = self.state.break_off.pop(self.path, len(data))
        self.wfile.write(data[begin:stop])

    def log_message(self, *arguments: Any) -> None:
        pass


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for name, data in files.items():
            content.writestr(name, data)
    return buffer.getvalue()


def jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", np.zeros((24, 32), np.uint8))[1].tobytes())


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    entries = []
    for name, frames in (("one", 3), ("two", 4)):
        parts: dict[str, dict[str, Any]] = {}
        for part, content in (
            ("annotations", {"groundtruth.txt": b"1,2,10,10\n" * frames, "dark.tag": b"0\n" * frames}),
            ("color", {f"{k:05d}v.jpg": jpeg() for k in range(1, frames + 1)}),
            ("ir", {f"{k:05d}i.jpg": jpeg() for k in range(1, frames + 1)}),
        ):
            data = archive(content)
            state.files[f"/data/{name}/{part}.zip"] = data
            parts[part] = {
                "url": f"{name}/{part}.zip",
                "compressed": len(data),
                "checksum": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
            }
        entries.append({"name": name, "fps": 20, "annotations": parts.pop("annotations"), "channels": parts})
    state.files["/data/description.json"] = json.dumps({"name": "test", "sequences": entries}).encode()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, state)) as listener:  # type: ignore[arg-type]
        state.url = f"http://127.0.0.1:{listener.server_port}/data/description.json"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listener.shutdown()
        thread.join()


def test_fetches_verifies_and_does_nothing_the_second_time(server: Server, tmp_path: Path) -> None:
    summary = fetch_dataset(server.url, tmp_path / "vot", expected={"one": 3, "two": 4})
    assert (summary.kept, summary.fetched, summary.frames) == (0, 2, 7)
    dataset = read_dataset(tmp_path / "vot")
    assert [sequence.name for sequence in dataset.sequences] == ["one", "two"]
    assert dataset.sequences[0].fps == 20
    assert "dark" in dataset.sequences[0].tags
    for sequence in dataset.sequences:
        check_pictures(sequence, Modality.FUSED)
    assert not list((tmp_path / "vot" / ".download").iterdir())
    before = len(server.asked)
    assert fetch_dataset(server.url, tmp_path / "vot").kept == 2
    assert len(server.asked) == before + 1


def test_a_broken_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.break_off["/data/two/ir.zip"] = 100
    assert fetch_dataset(server.url, tmp_path / "vot").fetched == 2
    assert ("/data/two/ir.zip", "bytes=100-") in server.asked


def test_an_interrupted_download_goes_on(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "vot" / ".download" / "one" / "color.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(server.files["/data/one/color.zip"][:50])
    fetch_dataset(server.url, tmp_path / "vot")
    assert ("/data/one/color.zip", "bytes=50-") in server.asked


def test_a_missing_file_fails_and_the_rest_is_kept(server: Server, tmp_path: Path) -> None:
    data = server.files.pop("/data/two/ir.zip")
    with pytest.raises(RunError, match=r"1 of 2 sequences are not complete: two: .*404"):
        fetch_dataset(server.url, tmp_path / "vot")
    assert not (tmp_path / "vot" / "two").exists()
    assert not (tmp_path / "vot" / "list.txt").exists()
    server.files["/data/two/ir.zip"] = data
    assert fetch_dataset(server.url, tmp_path / "vot").kept == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive({}), "0 pictures in channel ir for 4 lines"),
        (archive({f"{k:05d}i.jpg": b"x" for k in range(3)}), "3 pictures in channel ir for 4 lines"),
        (b"<html>please log in</html>", "no zip archive"),
        (archive({"../../evil.txt": b"x"}), "leads out of its folder"),
    ],
)
def test_incomplete_archives_are_never_a_success(server: Server, tmp_path: Path, content: bytes, message: str) -> None:
    description = json.loads(server.files["/data/description.json"])
    description["sequences"][1]["channels"]["ir"] = {"url": "two/ir.zip"}
    server.files["/data/description.json"] = json.dumps(description).encode()
    server.files["/data/two/ir.zip"] = content
    with pytest.raises(RunError, match=message):
        fetch_dataset(server.url, tmp_path / "vot")
    assert not (tmp_path / "vot" / "two").exists()
    assert not (tmp_path / "evil.txt").exists()


def test_a_wrong_checksum_or_size_fails(server: Server, tmp_path: Path) -> None:
    data = server.files["/data/two/ir.zip"]
    server.files["/data/two/ir.zip"] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(RunError, match="checksum differs"):
        fetch_dataset(server.url, tmp_path / "vot")
    server.files["/data/two/ir.zip"] = data + b"more"
    with pytest.raises(RunError, match="bytes instead of"):
        fetch_dataset(server.url, tmp_path / "vot")


def test_pictures_lost_after_the_fetch_are_noticed(server: Server, tmp_path: Path) -> None:
    fetch_dataset(server.url, tmp_path / "vot")
    (tmp_path / "vot" / "one" / "ir" / "00002i.jpg").unlink()
    with pytest.raises(RunError, match="one: 2 pictures in channel ir for 3 lines"):
        fetch_dataset(server.url, tmp_path / "vot")


def test_wrong_addresses(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no http or https"):
        fetch_dataset("file:///etc/passwd", tmp_path / "vot")
    with pytest.raises(RunError, match="cannot be read"):
        fetch_dataset(server.url.replace("description", "other"), tmp_path / "vot")
    server.files["/data/page.json"] = b'{"sequences": [{"name": "../x"}]}'
    with pytest.raises(InputError, match="no plain name"):
        fetch_dataset(server.url.replace("description", "page"), tmp_path / "vot")
    server.files["/data/page.json"] = b"<html>"
    with pytest.raises(InputError, match=r"no description\.json"):
        fetch_dataset(server.url.replace("description", "page"), tmp_path / "vot")


def test_the_command_wants_the_sixty_sequences(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["dataset", "fetch", "vot-rgbt2019", "--out", str(tmp_path / "vot")]
    assert run([*arguments, "--url", server.url]) == 2
    assert "lacks 60 of 60 sequences" in capsys.readouterr().err
