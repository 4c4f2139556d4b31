"""All that a run needs so that people can watch and steer it, put together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from fusion.factory import FUSION_METHODS, weights_name
from fusion.fuser import Fuser
from fusion.weight_store import find_weights
from pipeline.assemble import PairStream
from pipeline.control import FusionChoice, RunControl, RunState
from pipeline.degrade import DegradePolicy
from pipeline.health import SourceWatch
from pipeline.interactive import InteractiveProcessor
from pipeline.overlay import Overlay
from pipeline.settings import StreamSettings
from pipeline.shelf import PairShelf
from pipeline.sources.profile import ThermalProfile, read_profile
from pipeline.telemetry import Telemetry
from pipeline.thermal import PaletteName
from pipeline.web.hub import Hub, HubConfig
from pipeline.web.security import parse_address
from pipeline.web.server import WebServer
from pipeline.web.settings import WebSettings
from trackers.box import Box
from trackers.state import Modality, Tracker


class LivePage:
    """The page of one run; close it when the run has ended.

    Args:
        settings: with an address.
        folder: the run's output folder.
        pairs: where the pairs come from, to tell the health of its sources.
        state: how the run begins.
        telemetry: numbers to show.
        overlay: drawn for viewers without JavaScript.
        palette: colours of the thermal picture for viewers who choose none.
        profile: what the counts of the thermal camera mean, if that is known.
        host_time: the pairs' times are on the host's clock.

    Raises:
        InputError: the server cannot listen there.
    """

    def __init__(
        self,
        settings: WebSettings,
        *,
        folder: Path,
        pairs: PairStream,
        state: RunState,
        telemetry: Telemetry,
        overlay: Overlay,
        palette: PaletteName,
        profile: ThermalProfile | None,
        host_time: bool,
    ) -> None:
        if settings.address is None:
            raise ValueError("a page needs an address")
        self.control = RunControl(state)
        self._shelf = PairShelf()
        self._rebuild = pairs.builder.rebuild
        watch = SourceWatch(pairs)
        hub = Hub(
            control=self.control,
            shelf=self._shelf,
            telemetry=telemetry,
            health=watch.health,
            counters=watch.counters,
            host_time=host_time,
            overlay=overlay,
            builder=pairs.builder,
            profile=profile,
            palette=palette,
            config=HubConfig(
                jpeg_quality=settings.quality, most_wide=settings.most_wide, most_viewers=settings.most_viewers
            ),
        )
        address = parse_address(settings.address, settings.token)
        self._server = WebServer(address, hub=hub, folder=folder, token=settings.token)

    @property
    def url(self) -> str:
        """Where to look."""
        return self._server.url

    def processor(
        self,
        *,
        fuser: Fuser | None,
        tracker: Tracker | None,
        boxes: tuple[Box, ...],
        modality: Modality,
        stop: threading.Event,
        build_fuser: Callable[[FusionChoice], Fuser],
        policy: DegradePolicy | None = None,
        side_by_side: bool = False,
    ) -> InteractiveProcessor:
        """The processor that obeys the page."""
        return InteractiveProcessor(
            fuser=fuser,
            tracker=tracker,
            boxes=boxes,
            modality=modality,
            control=self.control,
            shelf=self._shelf,
            stop=stop,
            build_fuser=build_fuser,
            rebuild=self._rebuild,
            policy=policy,
            side_by_side=side_by_side,
        )

    def close(self) -> None:
        """Say goodbye to the viewers and end the server."""
        self._server.close()


def open_page(settings: StreamSettings, pairs: PairStream, folder: Path, telemetry: Telemetry) -> LivePage:
    """Serve the page of the run that ``settings`` describe; their web address must be given.

    Raises:
        InputError: the server cannot listen there.
    """
    fusion, tracking = settings.fusion, settings.tracking
    profile = settings.source.thermal_options.profile
    state = RunState(
        fusion=None if fusion.method == "none" else FusionChoice(method=fusion.full_method, pooling=fusion.pooling),
        methods=() if fusion.method == "none" else _selectable_methods(fusion.full_method),
        tracker=None if tracking.method == "none" else tracking.method,
        modality=tracking.modality,
        recording=True,
        live=settings.runs_live,
    )
    return LivePage(
        settings.web,
        folder=folder,
        pairs=pairs,
        state=state,
        telemetry=telemetry,
        overlay=Overlay(settings.overlay, settings.title),
        palette=settings.overlay.palette,
        profile=read_profile(profile) if profile else None,
        host_time=settings.source.live,
    )


def _selectable_methods(chosen: str) -> tuple[str, ...]:
    """The methods whose weights are here, and the one the run begins with."""
    return tuple(name for name in FUSION_METHODS if name == chosen or _has_its_weights(name))


def _has_its_weights(method: str) -> bool:
    weights = weights_name(method)
    return weights is None or find_weights(weights) is not None
