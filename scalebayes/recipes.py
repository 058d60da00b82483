"""Training recipes as columns of a design: what a contrast within groups can tell."""

from dataclasses import dataclass

import numpy as np

COLUMNS = {
    "long warm-up": lambda recipe: recipe.get("warmup") == "long",
    "schedule not matched": lambda recipe: recipe.get("schedule") == "not matched",
    "tuned, constant rate": lambda recipe: (
        recipe.get("schedule") == "constant" and recipe.get("tuning") == "tuned"
    ),
}
"""Recipe columns: whether a study's warm-up was long, its learning-rate schedule not matched to the
length of the run, its optimiser tuned per scale at a constant rate. The last is one column, since
Porian et al. (2024), arXiv:2406.19146, change both in one step (4 to 5)."""

NEEDED = {
    "long warm-up": ("warmup",),
    "schedule not matched": ("schedule",),
    "tuned, constant rate": ("schedule", "tuning"),
}
"""Facts of a recipe that each column is made from."""


FACTS = {
    "warmup": ("long", "short", "unknown"),
    "schedule": ("matched", "not matched", "constant", "unknown"),
    "tuning": ("tuned", "rule", "not tuned", "unknown"),
}
"""What can be said of a study's recipe, and the values it may have."""


@dataclass(frozen=True, kw_only=True)
class RecipeDesign:
    """Which recipe each study has, as far as contrasts within groups can tell it.

    Parameters
    ----------
    names : tuple of str
        Columns that vary within some group.
    x : ndarray
        [study, column] of 0 and 1.
    not_identified : tuple of str
        What no contrast within a group tells, in words.
    assumed : tuple of str
        Studies whose recipe is unknown and was taken as 0, in words.
    """

    names: tuple[str, ...]
    x: np.ndarray
    not_identified: tuple[str, ...]
    assumed: tuple[str, ...]


def recipe_design(recipes, groups, studies):
    """Return the `RecipeDesign` of studies.

    A recipe effect is a contrast between studies of one group. A column that varies between groups
    only is left out of the model: its effect could not be told from the groups' other differences.

    Parameters
    ----------
    recipes : sequence of mapping
        One per study, as in `Study.recipe`.
    groups, studies : sequence of str
        Group and name of each study.
    """
    table = np.array([recipe_row(recipe) for recipe in recipes], dtype=float)
    kept, left_out = [], []
    for position, name in enumerate(COLUMNS):
        values = {group: set() for group in groups}
        for group, value in zip(groups, table[:, position], strict=True):
            values[group].add(value)
        if any(len(found) > 1 for found in values.values()):
            kept.append(position)
        else:
            differ = len(set.union(*values.values())) > 1
            why = "differs between groups only" if differ else "is the same in all studies"
            left_out.append(f"{name}: not identified, since it {why}")
    names = tuple(COLUMNS)
    left_out += _together(table[:, kept], groups, [names[position] for position in kept])
    return RecipeDesign(
        names=tuple(names[position] for position in kept),
        x=table[:, kept],
        not_identified=tuple(left_out),
        assumed=_assumed(recipes, studies, [names[position] for position in kept]),
    )


def _together(x, groups, names):
    """Return in words which columns vary together within groups, so that only sums are known."""
    labels = np.array(groups)
    within = x.copy()
    for group in set(groups):
        within[labels == group] -= within[labels == group].mean(axis=0)
    if not names or np.linalg.matrix_rank(within) == len(names):
        return []
    known = np.diag(np.linalg.pinv(within) @ within)  # 1 where a column's own effect is known
    joint = [name for name, share in zip(names, known, strict=True) if share < 1 - 1e-9]
    return [f"{', '.join(joint)}: not identified one by one, since they vary together in groups"]


def recipe_row(recipe):
    """Return a study's 0 or 1 in each of `COLUMNS`; what is unknown counts as 0."""
    return [float(test(recipe)) for test in COLUMNS.values()]


def _assumed(recipes, studies, names):
    found = []
    for name in names:
        unknown = [
            study
            for recipe, study in zip(recipes, studies, strict=True)
            if any(recipe.get(key, "unknown") == "unknown" for key in NEEDED[name])
        ]
        if unknown:
            found.append(f"{name}: unknown, taken as no, in {', '.join(unknown)}")
    return tuple(found)
