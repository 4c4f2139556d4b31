"""Search of a tracker's constants: window influence, size penalty, learning rate.

Every trial is an evaluation of its own, so a search goes on where it stopped, trial by trial and run by run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from fusion.errors import InputError, RunError
from trackers.evaluation.dataset import Dataset
from trackers.evaluation.evaluation import Executor, run_missing
from trackers.evaluation.interval import VOT_RGBT2019_INTERVAL, Interval
from trackers.evaluation.jobs import Builder
from trackers.evaluation.protocol import RunOptions
from trackers.evaluation.scores import score_one_pass, score_resets
from trackers.evaluation.scoring import choose_interval
from trackers.evaluation.specs import TrackerSpec, build, fingerprint, sequence_fingerprint

# Where the constants of SiamRPN++ and its relatives are searched, as (low, high).
SEARCH_SPACE: Mapping[str, tuple[float, float]] = {
    "penalty_k": (0.0, 0.25),
    "window_influence": (0.15, 0.6),
    "learning_rate": (0.1, 0.7),
}
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One set of constants and how well it did (EAO, or success under one-pass evaluation)."""

    number: int
    settings: Mapping[str, float]
    objective: float


def trial_settings(number: int, seed: int) -> dict[str, float]:
    """Constants of a trial: none for trial 0 (the preset), else drawn uniformly from the search space.

    They depend on ``number`` and ``seed`` alone, so a longer search continues a shorter one.
    """
    if number == 0:
        return {}
    random = np.random.default_rng((seed, number))
    return {name: round(float(random.uniform(low, high)), _DIGITS) for name, (low, high) in SEARCH_SPACE.items()}


def tune(
    dataset: Dataset,
    spec: TrackerSpec,
    out: Path,
    options: RunOptions,
    *,
    trials: int,
    seed: int,
    interval: str,
    execute: Executor,
    builder: Builder = build,
    say: Callable[[str], None] = lambda text: None,
) -> list[Trial]:
    """Try sets of constants; trials of an earlier call with the same ``out`` are kept.

    Writes ``trials.jsonl`` (one line per trial) and ``best.yaml`` (the preset of the best).

    Raises:
        InputError: fewer than one trial, or ``out`` belongs to another search.
        RunError: a tracker failed.
    """
    if trials < 1:
        raise InputError(f"--trials must be at least 1, not {trials}")
    chosen = VOT_RGBT2019_INTERVAL if options.kind == "one-pass" else choose_interval(interval, dataset)
    out.mkdir(parents=True, exist_ok=True)
    search = _search_digest(dataset, spec, options, chosen, builder)
    found = _read_trials(out / "trials.jsonl", seed, search)
    for number in range(trials):
        if number in found:
            continue
        settings = trial_settings(number, seed)
        overrides = {**dict(spec.overrides), **settings}
        candidate = replace(spec, overrides=tuple(sorted(overrides.items())), label=f"trial{number:04d}")
        run_missing(dataset, (candidate,), out, options, execute=execute, builder=builder)
        results = out / "results"
        if options.kind == "one-pass":
            objective = score_one_pass(dataset, results, candidate.name).numbers["success_auc"]
        else:
            scores = score_resets(dataset, results, candidate.name, interval=chosen, lineage="matlab")
            objective = scores.numbers["eao"]
        if math.isnan(objective):
            raise RunError(f"the EAO is undefined over {chosen}: no sequence is that long; see --interval")
        trial = Trial(number=number, settings=settings, objective=objective)
        found[number] = trial
        line = {"number": number, "seed": seed, "search": search, "settings": settings, "objective": objective}
        with (out / "trials.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        say(f"trial {number}: {objective:.4f} {settings or 'preset'}")
    ordered = sorted(found.values(), key=lambda trial: (-trial.objective, trial.number))
    best = {key: float(value) for key, value in ordered[0].settings.items()}
    text = f"# Trial {ordered[0].number} of {len(ordered)}, objective {ordered[0].objective:.6f}\n"
    (out / "best.yaml").write_text(text + yaml.safe_dump(best), encoding="utf-8")
    return ordered


def _search_digest(
    dataset: Dataset, spec: TrackerSpec, options: RunOptions, interval: Interval, builder: Builder
) -> str:
    """What objectives depend on besides the settings: those of other searches say nothing in this one."""
    content = {
        **fingerprint(spec, options, builder(spec)),
        "interval": str(interval),
        "sequences": {sequence.name: sequence_fingerprint(sequence) for sequence in dataset.sequences},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _read_trials(path: Path, seed: int, search: str) -> dict[int, Trial]:
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            trial = Trial(number=entry["number"], settings=entry["settings"], objective=entry["objective"])
            trial_seed, trial_search = entry["seed"], entry["search"]
        except (KeyError, ValueError):
            # A kill while the line was written: the trial runs again, from the results on disk.
            continue
        if trial_seed != seed:
            raise InputError(f"{path}, line {number}: a search with --seed {trial_seed}; choose another --out")
        if trial_search != search:
            raise InputError(
                f"{path}, line {number}: a search of another tracker, with other options or on other sequences; "
                "choose another --out"
            )
        found[trial.number] = trial
    return found
