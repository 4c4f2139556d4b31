"""A short piece of the stress that ``benchmarks/tracker_stress.py`` runs for 10,000 pairs."""

from __future__ import annotations

from benchmarks.tracker_stress import stress
from trackers.factory import build_tracker


def test_targets_come_and_go_through_spoiled_pictures_of_changing_size() -> None:
    report = stress(build_tracker("siamrpn-lite"), 150, seed=5)
    assert report.pairs == 150
    assert report.targets_added >= 3
    assert report.targets_removed >= 3
    assert report.size_changes >= 1
    assert report.spoiled_pairs >= 5
