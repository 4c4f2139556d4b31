"""A pair processor that people can steer while it runs: targets, pause, and the fusion method."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from fusion.errors import InputError
from fusion.fuser import Fuser
from pipeline.control import (
    AddTarget,
    Command,
    FusionChoice,
    PictureChanged,
    RemoveTarget,
    RunControl,
    SetPaused,
    SetRecording,
)
from pipeline.degrade import DegradePolicy
from pipeline.frames import FramePair, StreamResult
from pipeline.shelf import PairShelf
from pipeline.stream import PairProcessor, check_box
from trackers.box import Box
from trackers.state import Modality, Tracker, TrackState

Backdated = dict[int, dict[int, TrackState]]

_PAUSE_STEP_S = 0.1
# Pairs through which a target that starts in the past is followed to now; more would hold up a live stream.
_CATCH_UP = 12


class InteractiveProcessor(PairProcessor):
    """Obeys the commands of a `RunControl` between two pairs and publishes every result to its observers.

    A target that is added on an earlier pair starts there and is followed through the kept pairs up to now; its
    states on those pairs go with the next result as ``backdated``.

    Args:
        fuser: as for `PairProcessor`.
        tracker: as for `PairProcessor`.
        boxes: as for `PairProcessor`.
        modality: as for `PairProcessor`.
        control: where commands come from and results go.
        shelf: keeps the last pairs.
        stop: ends a pause.
        build_fuser: makes the fuser of a choice, called in a thread of its own; None: the fusion is fixed.
        rebuild: makes a pair anew after a change of its registration; None: it never changes.
        policy: as for `PairProcessor`.
        side_by_side: as for `PairProcessor`.
    """

    def __init__(
        self,
        *,
        fuser: Fuser | None,
        tracker: Tracker | None,
        boxes: Sequence[Box] = (),
        modality: Modality = Modality.FUSED,
        control: RunControl,
        shelf: PairShelf,
        stop: threading.Event,
        build_fuser: Callable[[FusionChoice], Fuser] | None = None,
        rebuild: Callable[[FramePair], FramePair] | None = None,
        policy: DegradePolicy | None = None,
        side_by_side: bool = False,
    ) -> None:
        super().__init__(
            fuser=fuser, tracker=tracker, boxes=boxes, modality=modality, policy=policy, side_by_side=side_by_side
        )
        self._control = control
        self._shelf = shelf
        self._stop = stop
        self._build_fuser = build_fuser
        self._rebuild = rebuild
        self._next_target = len(self._boxes) + 1
        self._backdated: Backdated = {}
        self._last: StreamResult | None = None
        self._built_lock = threading.Lock()
        self._built: tuple[FusionChoice, Fuser | InputError] | None = None
        self._wanted: FusionChoice | None = None

    def process(self, pair: FramePair, decode_ms: float = 0.0, dropped: int = 0) -> StreamResult:
        """Obey what was asked, then fuse and track one pair and publish the result."""
        self._obey()
        self._adopt_fuser()
        result = replace(super().process(pair, decode_ms, dropped), title=self._control.state.title)
        if self._backdated:
            result = replace(result, backdated=self._backdated)
            self._backdated = {}
        self._shelf.put(pair)
        self._last = result
        self._control.publish(result)
        return result

    def wait_while_paused(self) -> None:
        """Obey what is asked until the run is not paused, or ends."""
        self._obey()
        if self._control.state.paused and self._policy is not None:
            self._policy.restart()  # what is dropped from now on says nothing of the machine
        while self._control.state.paused and not self._stop.is_set():
            self._control.wait(_PAUSE_STEP_S)
            self._obey()

    def _obey(self) -> None:
        for command in self._control.take():
            try:
                self._do(command)
            except InputError as error:
                self._control.announce("refused", str(error))

    def _do(self, command: Command) -> None:
        match command:
            case AddTarget(frame=frame, box=box):
                try:
                    self._add_target(frame, box)
                finally:
                    self._shelf.release(command)
            case RemoveTarget(target=target):
                self._remove_target(target)
            case SetPaused(paused=paused):
                self._control.update(paused=paused)
                self._control.announce("paused", "paused" if paused else "running", paused=paused)
            case SetRecording(recording=recording):
                if self._control.state.recording is None:
                    raise InputError("this run cannot switch its recording")
                self._control.update(recording=recording)
                text = "recording" if recording else "recording stopped"
                self._control.announce("recording", text, recording=recording)
            case FusionChoice():
                self._choose_fuser(command)
            case PictureChanged():
                self._make_again()

    def _add_target(self, frame: int, box: Box) -> None:
        if self._tracker is None:
            raise InputError("this run has no tracker, so no target can be followed")
        pair = self._shelf.get(frame)
        if pair is None:
            raise InputError(f"the picture of frame {frame} is no longer kept; draw the box again")
        height, width = pair.visible_bgr.shape[:2]
        check_box(box, width, height)
        state = self._tracker.init(pair, box)
        target, self._next_target = self._next_target, self._next_target + 1
        self._backdated.setdefault(frame, {})[target] = state
        for later in _thinned(self._shelf.since(frame), _CATCH_UP):
            state = self._tracker.update(state, later)
            self._backdated.setdefault(later.index, {})[target] = state
        self._states[target] = state
        self._control.announce(
            "added", f"target {target} added on frame {frame}", target=target, frame=frame, box=list(box.as_tuple())
        )
        self._show_again()

    def _remove_target(self, target: int) -> None:
        if self._states.pop(target, None) is None:
            raise InputError(f"there is no target {target}")
        self._control.announce("removed", f"target {target} removed", target=target)
        self._show_again()

    def _show_again(self) -> None:
        """While paused no new result would show what has changed."""
        if self._control.state.paused and self._last is not None:
            self._last = replace(self._last, states=dict(self._states))
            self._control.publish(self._last)

    def _make_again(self) -> None:
        """While paused no new pair would show what has changed."""
        if self._control.state.paused and self._last is not None and self._rebuild is not None:
            pair = self._rebuild(self._last.pair)
            self._shelf.put(pair)
            self._last = replace(self._last, pair=pair, fused_bgr=self._fuse(pair))
            self._control.publish(self._last)

    def _choose_fuser(self, choice: FusionChoice) -> None:
        if self._build_fuser is None or self._fuser is None:
            raise InputError("this run cannot switch its fusion")
        if choice.method not in self._control.state.methods:
            raise InputError(f"fusion method {choice.method!r} cannot be chosen here")
        self._control.update(switching=choice)
        with self._built_lock:
            busy, self._wanted = self._wanted is not None, choice
        if not busy:
            threading.Thread(target=self._build, name="fuser", daemon=True).start()

    def _build(self) -> None:
        """Build what is wanted until nothing newer is; loading weights must not hold up the stream."""
        assert self._build_fuser is not None
        choice: FusionChoice | None = None
        while True:
            with self._built_lock:
                if self._wanted is None or self._wanted == choice:
                    self._wanted = None
                    return
                choice = self._wanted
            try:
                fuser = self._build_fuser(choice)
                self._warm_up(fuser)
                built: Fuser | InputError = fuser
            except (InputError, OSError, RuntimeError) as error:
                built = InputError(f"{choice.method}: {error}")
            with self._built_lock:
                self._built = (choice, built)

    def _warm_up(self, fuser: Fuser) -> None:
        """Fuse a picture for trial: the first one takes long, and some sizes are too small for a method."""
        last = self._last
        if last is not None:
            fuser(last.pair.visible_bgr, last.pair.thermal)
            fuser.reset()

    def _adopt_fuser(self) -> None:
        with self._built_lock:
            ready, self._built = self._built, None
        if ready is None:
            return
        choice, built = ready
        if self._control.state.switching == choice:
            self._control.update(switching=None)
        if isinstance(built, InputError):
            self._control.announce("refused", str(built))
            return
        self._fuser = built
        if self._policy is not None:
            self._policy.restart(level=0)
        self._control.update(fusion=choice)
        self._control.announce(
            "fusion",
            f"fusing with {choice.method}, {choice.pooling} pooling",
            method=choice.method,
            pooling=choice.pooling,
        )


def _thinned(pairs: list[FramePair], most: int) -> list[FramePair]:
    """At most ``most`` of the pairs, evenly spread, with the last one among them."""
    if len(pairs) <= most:
        return pairs
    return [pairs[round((number + 1) * len(pairs) / most) - 1] for number in range(most)]
