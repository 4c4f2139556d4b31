"""A live run as a user starts it, measured from outside: two RTSP cameras, a viewer of the page, and this watcher.

python benchmarks/live_run.py [--fuser nestfuse-lite] [--tracker siamrpn-lite] [--minutes 10] [--thermal-fps 30]
    [--visible-fps 30] [--size 640x480] [--weights FILE]... [--set a.b=value]... [--threads 2] [--json FILE]

The cameras are two processes that send pictures encoded beforehand; the viewer decodes each picture and confirms it, as
the page in a browser does. All of them run on this machine and share its cores with the run. Age is from capture until
the viewer's word that it shows the picture has come back. Latency is flat and memory does not grow when the numbers of
the last rows are those of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fusion.benchmark import describe_machine, resident_mb
from pipeline.sources.synthetic import SyntheticConfig, SyntheticScene
from tests.pipeline.rtsp_server import Faults, RtspServer

REPO = Path(__file__).parents[1]
_MOMENTS = 16
_WARM_UP_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The run at one moment.

    Attributes:
        at_s: since the first picture.
        pairs_per_s: over the last seconds.
        age_p50_ms: age when shown, over the last 512 pictures.
        age_p95_ms: likewise.
        paired: share of reference frames that found a partner, since the beginning.
        dropped: pairs dropped since the beginning.
        level: degradation level.
        rss_mb: resident memory of the run.
        cpu_ms: processor time of the run for a pair since the last sample, all threads together.
    """

    at_s: float
    pairs_per_s: float
    age_p50_ms: float
    age_p95_ms: float
    paired: float
    dropped: int
    level: int
    rss_mb: float
    cpu_ms: float


def serve_camera(role: str, fps: float, size_wh: tuple[int, int]) -> None:
    """Be one camera until killed: a second of the synthetic scene, there and back."""
    scene = SyntheticScene(SyntheticConfig(size_wh=size_wh, length=_MOMENTS))
    moments = [
        scene.visible(index) if role == "visible" else np.repeat(scene.thermal(index)[..., None], 3, axis=2)
        for index in range(_MOMENTS)
    ]

    def paint(number: int) -> np.ndarray:
        phase = round((number - 1) * 2 * (_MOMENTS - 1) / fps) % (2 * (_MOMENTS - 1))
        return moments[min(phase, 2 * (_MOMENTS - 1) - phase)]

    with RtspServer(fps=fps, paint=paint, looped=round(fps), faults=Faults(size_wh=size_wh)) as server:
        print(server.url, flush=True)
        sys.stdin.read()


@contextmanager
def camera(role: str, fps: float, size: str) -> Iterator[str]:
    """The address of a camera in a process of its own."""
    command = [sys.executable, __file__, "--serve", role, "--visible-fps", str(fps), "--size", size]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


class Viewer(threading.Thread):
    """Looks at the page's pictures until the server goes."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address

    def run(self) -> None:
        """Decode and confirm every picture."""
        with connect(f"ws://{self._address}/ws", max_queue=None) as socket:
            try:
                while True:
                    message = socket.recv()
                    if isinstance(message, str):
                        continue
                    (length,) = struct.unpack(">I", message[:4])
                    header = json.loads(message[4 : 4 + length])
                    cv2.imdecode(np.frombuffer(message, np.uint8, offset=4 + length), cv2.IMREAD_COLOR)
                    socket.send(json.dumps({"type": "shown", "serial": header["serial"]}))
            except ConnectionClosed:
                return


def cpu_s(pid: int) -> float:
    """Processor time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status_of(address: str) -> dict[str, Any] | None:
    """The page's status; None while no pair has come."""
    try:
        with urllib.request.urlopen(f"http://{address}/api/status", timeout=10) as answer:
            status: dict[str, Any] = json.loads(answer.read())
    except OSError:
        return None
    return status if status["telemetry"]["pairs"] else None


def watch(pid: int, address: str, minutes: float, every_s: float) -> list[Sample]:
    """A sample every so many seconds, printed as it comes."""
    while status_of(address) is None:
        time.sleep(0.2)
    viewer = Viewer(address)
    viewer.start()
    begin_s = time.monotonic()
    samples: list[Sample] = []
    pairs_before, cpu_before_s = 0, cpu_s(pid)
    print("    at  pairs/s  age p50    p95 ms  paired  dropped  level  RSS MB  CPU ms/pair")
    while time.monotonic() - begin_s < 60 * minutes:
        time.sleep(every_s)
        status = status_of(address)
        if status is None:
            raise SystemExit("the run has ended")
        telemetry, counters = status["telemetry"], status["telemetry"]["counters"]
        now_cpu_s = cpu_s(pid)
        age = telemetry["age_ms"] or {"p50": float("nan"), "p95": float("nan")}
        sample = Sample(
            at_s=time.monotonic() - begin_s,
            pairs_per_s=telemetry["fps"],
            age_p50_ms=age["p50"],
            age_p95_ms=age["p95"],
            paired=counters["paired"] / max(1, counters["paired"] + counters["unpaired"]),
            dropped=counters["dropped"],
            level=telemetry["level"],
            rss_mb=resident_mb(pid),
            cpu_ms=1e3 * (now_cpu_s - cpu_before_s) / max(1, telemetry["pairs"] - pairs_before),
        )
        pairs_before, cpu_before_s = telemetry["pairs"], now_cpu_s
        samples.append(sample)
        print(
            f"{sample.at_s:6.0f}  {sample.pairs_per_s:7.1f}  {sample.age_p50_ms:7.0f}  {sample.age_p95_ms:8.0f}  "
            f"{sample.paired:6.3f}  {sample.dropped:7d}  {sample.level:5d}  "
            f"{sample.rss_mb:6.0f}  {sample.cpu_ms:11.1f}",
            flush=True,
        )
    return samples


def judged(samples: list[Sample], out: Path) -> dict[str, Any]:
    """What the samples and the files of the run say together; the first seconds count as warm-up."""
    settled = [sample for sample in samples if sample.at_s > _WARM_UP_S] or samples
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    summary = json.loads((out / "summary.json").read_text())
    third = max(1, len(settled) // 3)
    return {
        "pairs": summary["pairs"],
        "pairs_per_s": round(float(np.median([sample.pairs_per_s for sample in settled])), 2),
        "paired": round(settled[-1].paired, 4),
        "status": dict(Counter(line["status"] for line in lines)),
        "age_p50_ms": round(float(np.median([sample.age_p50_ms for sample in settled])), 1),
        "age_p95_ms": round(float(np.median([sample.age_p95_ms for sample in settled])), 1),
        "age_p95_ms_first_third": round(float(np.median([sample.age_p95_ms for sample in settled[:third]])), 1),
        "age_p95_ms_last_third": round(float(np.median([sample.age_p95_ms for sample in settled[-third:]])), 1),
        "rss_growth_mb": round(settled[-1].rss_mb - settled[0].rss_mb, 1),
        "cpu_ms_per_pair": round(float(np.median([sample.cpu_ms for sample in settled])), 2),
        "dropped": summary["dropped"],
        "recording_dropped": summary["recording_dropped"],
        "levels": summary["levels"],
        "stage_ms": summary["stage_ms"],
        "exit": summary["exit"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fuser", default="nestfuse-lite")
    parser.add_argument("--tracker", default="siamrpn-lite")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two rows")
    parser.add_argument("--visible-fps", type=float, default=30.0)
    parser.add_argument("--thermal-fps", type=float, default=30.0)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--weights", action="append", default=[])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of the run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", choices=("visible", "thermal"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    width, height = (int(part) for part in options.size.split("x"))
    if options.serve:
        serve_camera(options.serve, options.visible_fps, (width, height))
        return 0
    environment = dict(os.environ)
    if options.threads:
        environment["OMP_NUM_THREADS"] = str(options.threads)
    box = ",".join(f"{value:g}" for value in _first_box((width, height)))
    with ExitStack() as opened:
        out = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "out"
        visible = opened.enter_context(camera("visible", options.visible_fps, options.size))
        thermal = opened.enter_context(camera("thermal", options.thermal_fps, options.size))
        command = [sys.executable, "run_stream.py", "stream", "--visible", visible, "--thermal", thermal]
        command += ["--fuser", options.fuser, "--tracker", options.tracker, "--box", box, "--web", "127.0.0.1:0"]
        command += [f"--weights={file}" for file in options.weights] + [f"--set={item}" for item in options.set]
        process = subprocess.Popen(
            [*command, "--out", str(out)], cwd=REPO, env=environment, stderr=subprocess.PIPE, text=True
        )
        opened.callback(process.kill)
        assert process.stderr is not None
        for line in process.stderr:
            address = re.search(r"http://(\S+)/", line)
            if address:
                break
            print(line, end="", file=sys.stderr)
        else:
            raise SystemExit("the run did not start")
        said: list[str] = []
        threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True).start()
        samples = watch(process.pid, address[1], options.minutes, options.every)
        process.send_signal(signal.SIGINT)
        process.wait(30)
        report = judged(samples, out)
    messages = [line.strip() for line in said if not line.startswith("{")]
    print(json.dumps(report, indent=1), *messages, sep="\n")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": describe_machine(), "command": sys.argv[1:], **report, "samples": [*map(asdict, samples)]}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def _first_box(size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    scene = SyntheticScene(SyntheticConfig(size_wh=size_wh, length=_MOMENTS))
    seen = zip(scene.boxes(0), scene.visibility(0), strict=True)
    return next(box.as_tuple() for box, share in seen if box is not None and share > 0.5)


if __name__ == "__main__":
    sys.exit(main())
