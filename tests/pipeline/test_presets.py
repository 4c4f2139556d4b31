from __future__ import annotations

from pathlib import Path

import pytest

import configs
from fusion.errors import InputError
from pipeline.assemble import PairSourceConfig
from pipeline.configuration import load_configuration
from pipeline.settings import StreamSettings

FOLDER = Path(str(configs.__file__)).parent
SOURCES = {"source.visible": "a.mp4", "source.thermal": "b.mp4"}


@pytest.mark.parametrize("name", ["recorded", "live"])
def test_a_preset_fits_the_settings(name: str) -> None:
    settings = load_configuration(StreamSettings, FOLDER / f"{name}.yaml", [], SOURCES)
    assert settings.live is (name == "live")
    assert settings.source.visible == "a.mp4"


def test_the_recorded_preset_says_what_the_defaults_are() -> None:
    preset = load_configuration(StreamSettings, FOLDER / "recorded.yaml", ["live=null"], SOURCES)
    assert preset == StreamSettings(source=PairSourceConfig(visible="a.mp4", thermal="b.mp4"))


def test_an_option_wins_over_the_preset_and_set_over_both() -> None:
    options = {**SOURCES, "fusion.method": "auif", "fusion.pooling": "max"}
    settings = load_configuration(StreamSettings, FOLDER / "recorded.yaml", ["fusion.pooling=nuclear"], options)
    assert (settings.fusion.method, settings.fusion.pooling) == ("auif", "nuclear")


def test_a_mode_is_part_of_the_method() -> None:
    options = {**SOURCES, "fusion.method": "didfuse", "fusion.mode": "l1"}
    settings = load_configuration(StreamSettings, None, ["tracking.method=none"], options)
    assert settings.fusion.full_method == settings.title == "didfuse-l1"
    with pytest.raises(InputError, match="nestfuse has no modes"):
        load_configuration(StreamSettings, None, ["fusion.method=nestfuse"], options)


def test_no_source_says_which_options_give_one() -> None:
    with pytest.raises(InputError, match="--visible and --thermal, or --sequence"):
        load_configuration(StreamSettings, None)
