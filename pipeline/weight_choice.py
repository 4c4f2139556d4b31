"""Which network of a run a ``--weights`` file is for: the one that it fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fusion.errors import InputError
from fusion.factory import fusion_weight_recipes, weights_name
from fusion.weight_store import WeightRecipe
from pipeline.settings import StreamSettings


def with_weights(settings: StreamSettings, file: Path) -> StreamSettings:
    """The settings with ``file`` as weights of the tracker, or of the fusion method where it does not fit the tracker.

    Raises:
        InputError: it fits neither; the message is that of the tracker, or of the fusion method without tracker.
    """
    problems: list[InputError] = []
    if settings.tracking.method != "none":
        from trackers.factory import weight_recipes  # only runs that track pay for it

        problem = _problem(file, settings.tracking.method, tuple(weight_recipes()))
        if problem is None:
            return replace(settings, tracking=replace(settings.tracking, weights=file))
        problems.append(problem)
    if settings.fusion.method != "none":
        method = settings.fusion.full_method
        problem = _problem(file, weights_name(method) or method, fusion_weight_recipes())
        if problem is None:
            return replace(settings, fusion=replace(settings.fusion, weights=file))
        problems.append(problem)
    if not problems:
        raise InputError(f"--weights {file}: neither a fusion method nor a tracker is on; choose one, or leave it out")
    raise problems[0]


def _problem(file: Path, method: str, recipes: tuple[WeightRecipe, ...]) -> InputError | None:
    recipe = next((recipe for recipe in recipes if recipe.name == method), None)
    if recipe is None:
        known = ", ".join(recipe.name for recipe in recipes)
        return InputError(f"--weights {file}: {method} takes none; those that do are {known}")
    if not file.exists():
        return InputError(f"--weights {file}: no such file")
    try:
        recipe.check(recipe.read(file), str(file))
    except InputError as error:
        return InputError(f"--weights: {error}")
    return None
