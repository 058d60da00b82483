"""Published exponents as rows of a synthesis: which of them are data, which checks, and why not."""

import math

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm

from scalebayes.architecture import GAMMA_MEDIAN
from scalebayes.instruments import HOFFMANN_BUDGETS, KAPLAN
from scalebayes.laws import FLOP_PER_PARAMETER_AND_TOKEN
from scalebayes.optimum import allocation_exponent
from scalebayes.published import published_estimates

ROLES = ("primary", "replicate", "check", "left out")
"""A run set's one row per counting; its further rows; run sets that this package fits from runs."""

CATEGORIES = {"body": 0.0, "body+head": 1.0, "total": 2.0}
"""What an unknown counting may be, and its weight of a vocabulary matrix: none, one or two."""

WEIGHTS = {"body": 0.0, "body+head": 1.0, "total": 1.0}
"""Weight of a vocabulary matrix in a stated counting; a total has one, tied, unless `UNTIED`."""

UNTIED = ("gemstones2025", "marin2026")
"""Studies whose models store two vocabulary matrices, as their records in this package say."""

FITTED_HERE = (
    *("hoffmann2022", "besiroglu2024", "schaeffer2025", "porian2024", "gemstones2025"),
    *("muennighoff2023", "marin2026", "misfitting2025"),
)
"""Studies whose runs this package fits: their exponents are compared, never used again."""

KAPLAN_RANGE = float(KAPLAN.compute.min()), float(KAPLAN.compute.max())
"""FLOP; Kaplan et al. (2020) print none: as in Pearce & Song (2024), arXiv:2406.12907."""

HOFFMANN_RANGE = float(min(HOFFMANN_BUDGETS)), float(max(HOFFMANN_BUDGETS))
"""FLOP, approach 2 of Hoffmann et al. (2022), arXiv:2203.15556."""

DEFAULT_RANGE = 1e18, 1e21
"""FLOP, assumed where a source tells neither budgets nor sizes."""

TOKENS_PER_PARAMETER = 20.0
"""Assumed where sizes are told and budgets are not, of parameters with one vocabulary matrix."""

_A, _B = "a_N_opt_exponent", "b_D_opt_exponent"
_KEY = ["study", "corpus", "method", "counting", "recipe"]
_BEST_OF_RUN_SET = {"sardana2024": "all data"}  # else the first row of the table
_SIZES_IN_TOTAL = ("pearce_song2024",)  # whose range of sizes holds for both of its countings
_IMPOSED = ("gadre2024", "tao2024", "muennighoff2023")
_OTHER_ARCHITECTURES = ("xlstm2025", "olmo_hybrid_hybrid", "olmo_hybrid_gdn", "diffusion_lm2025")
_SAME_ESTIMATE = (  # study, column, beginning of its text: copies, rounded or as b
    ("kaplan2020", "method", "envelope, C_min"),
    ("hoffmann2022", "method", "approach 3, "),
    ("llama3_2024", "locator", "Sec 3.2.1"),
    ("deepseek2024", "corpus", "in-house current"),
)
_RUNS_NOT_HERE = (("hoffmann2022", "C4"), ("hoffmann2022", "GitHub"), ("marin2026", "nemotron"))
"""Study and beginning of a corpus whose runs are in no table of this package."""
_COLUMNS = (
    *("study", "run_set", "corpus", "method", "counting", "value", "low", "high", "level", "se"),
    *("se_from", "c_min", "c_max", "range_from", "obtained", "role", "reason", "origin"),
    "recipe",
    *("confidence", "citation", "locator"),
)


def synthesis_rows() -> pd.DataFrame:
    """Return every published or recomputed exponent of N* in C, and its part in the synthesis.

    Where only the token exponent b is given, a = 1 - b, which holds for C = 6 N D with N and C in
    one count; where only alpha and beta are, a = beta/(alpha + beta). A source's b beside its a,
    and its alpha and beta beside either, are no rows of their own.

    Returns
    -------
    DataFrame
        study, run_set (study and corpus: what shares a run-set effect), corpus, method, counting,
        value (the exponent), low, high, level (its published interval), se (of the exponent; NaN
        where none was published) and se_from ("published", "interval", "alpha and beta", "");
        c_min, c_max (FLOP) and range_from ("published", "Pearce & Song", "sizes", "default"; the
        last two are assumptions); obtained ("a", "1 - b", "alpha, beta"); role, one of `ROLES`;
        reason, why it is left out; origin, confidence, citation, locator.
    """
    rows = pd.concat([_exponents(table := published_estimates()), _surfaces(table)])
    rows = rows.sort_index().reset_index(drop=True)
    reasons = rows.apply(_reason, axis=1)
    rows = rows.assign(reason=reasons, run_set=rows["study"] + " " + rows["corpus"])
    rows["role"] = _roles(rows)
    for columns in (rows.apply(_range, axis=1), rows.apply(_error, axis=1)):
        rows = rows.assign(**columns)
    return rows[[*_COLUMNS]]


def weights_of(rows):
    """Return the weights of a vocabulary matrix that each row's counting may mean [row, category].

    Equal along a row whose counting is stated.
    """
    unknown = list(CATEGORIES.values())
    found = []
    for study, counting in zip(rows["study"], rows["counting"], strict=True):
        stated = 2.0 if counting == "total" and study.startswith(UNTIED) else WEIGHTS.get(counting)
        found.append(unknown if stated is None else [stated] * len(unknown))
    return np.array(found)


def reason_counts(rows):
    """Return how many rows were left out for each reason, most first."""
    return rows.loc[rows["role"] == "left out", "reason"].value_counts().to_dict()


def _exponents(table):
    """Return rows of a, and of b where its source gives no a; none of a derived from a surface.

    The exponent of a published alpha and beta is computed anew, with its error.
    """
    a, b = (table[table["quantity"] == name] for name in (_A, _B))
    surface = _keys(_surface_parts(table))
    a = a[~((a["origin"] == "derived") & _keys(a).isin(surface))]
    told = _keys(a[a["origin"] == "published"])
    b = b[~_keys(b).isin(told) & (b["origin"] == "published")]
    flipped = {"value": 1 - b["value"], "low": 1 - b["high"], "high": 1 - b["low"]}
    return pd.concat([a.assign(obtained="a"), b.assign(obtained="1 - b", **flipped)])


def _surface_parts(table):
    """Return the published alphas and betas that come in pairs without a published a."""
    told = table["origin"] == "published"
    parts = table[told & table["quantity"].isin(["alpha", "beta"])]
    both = parts.groupby(_KEY)["quantity"].transform("nunique") == 2
    return parts[both & ~_keys(parts).isin(_keys(table[told & (table["quantity"] == _A)]))]


def _surfaces(table):
    """Return one row per published pair of alpha and beta, its error by the delta method."""
    parts = _surface_parts(table)
    found = []
    for _, pair in parts.groupby(_KEY, sort=False):
        alpha, beta = (pair[pair["quantity"] == name].iloc[0] for name in ("alpha", "beta"))
        total = alpha["value"] + beta["value"]
        error = math.hypot(beta["value"] * alpha["se"], alpha["value"] * beta["se"]) / total**2
        a = allocation_exponent(alpha["value"], beta["value"])
        own = {"value": a, "se": error, "low": np.nan, "high": np.nan, "level": np.nan}
        found.append(alpha.to_frame().T.assign(obtained="alpha, beta", **own))
    return pd.concat(found).astype(table.dtypes.to_dict())


def _keys(table):
    return pd.Series(list(zip(*(table[name] for name in _KEY), strict=True)), index=table.index)


def _is_fitted_here(row):
    """Return whether this package has the runs that an exponent was read off."""
    other_runs = any(
        row["study"].startswith(study) and row["corpus"].startswith(corpus)
        for study, corpus in _RUNS_NOT_HERE
    )
    return row["study"].startswith(FITTED_HERE) and not other_runs


def _reason(row):
    """Return why a row is no data and no check, or ""."""
    fitted_here = _is_fitted_here(row)
    recomputed_runs = row["study"].startswith(("marin2026", "misfitting2025"))
    copies = (row["study"] == study and row[column].startswith(text)
              for study, column, text in _SAME_ESTIMATE)  # fmt: skip
    imposed = row["study"] in _IMPOSED or "alpha=beta" in row["method"]
    tests = {
        "alpha = beta imposed, a = 1/2 by construction": imposed,
        "simulated from a published law": row["corpus"].startswith("synthetic"),
        "another architecture": row["study"] in _OTHER_ARCHITECTURES,
        "quoted from memory": row["confidence"] == "from-memory",
        "attention counted in N": row["counting"] == "body+head+attention",
        "the same estimate as another row": any(copies),
        "not published: computed from published numbers or runs": row["origin"] != "published"
        and not (fitted_here and recomputed_runs),
    }
    return next((reason for reason, holds in tests.items() if holds), "")


def _roles(rows):
    """Return the role of each row: checks by study, one primary row per run set and counting."""
    role = pd.Series("primary", index=rows.index)
    role[rows.apply(_is_fitted_here, axis=1)] = "check"
    role[rows["reason"] != ""] = "left out"
    for (run_set, _), group in rows[role == "primary"].groupby(["run_set", "counting"]):
        text = _BEST_OF_RUN_SET.get(run_set.split()[0], "")
        first = group.index[group["method"].str.contains(text, regex=False)][0]
        role[group.index.difference([first])] = "replicate"
    return role


def _range(row):
    if row["study"] == "kaplan2020":
        ends, source = KAPLAN_RANGE, "Pearce & Song"
    elif np.isfinite(row["c_min"]):
        ends, source = (row["c_min"], row["c_max"]), "published"
    elif np.isfinite(row["n_min"]):
        ends, source = [_compute_of(row, row[name]) for name in ("n_min", "n_max")], "sizes"
    else:
        ends, source = DEFAULT_RANGE, "default"
    return pd.Series({"c_min": ends[0], "c_max": ends[1], "range_from": source})


def _compute_of(row, size):
    """Return the budget of a size at `TOKENS_PER_PARAMETER`, of a family like Chinchilla's."""
    reported = WEIGHTS.get(row["counting"], 1.0)
    of_size = 1.0 if row["study"] in _SIZES_IN_TOTAL else reported

    def log_size(x, weight):
        return x + math.log1p(weight * GAMMA_MEDIAN * math.exp(-2 * x / 3))

    x = brentq(lambda x: log_size(x, of_size) - math.log(size), -20.0, 60.0)
    tokens = TOKENS_PER_PARAMETER * math.exp(log_size(x, 1.0))
    return FLOP_PER_PARAMETER_AND_TOKEN * math.exp(log_size(x, reported)) * tokens


def _error(row):
    """Return the standard error that was published, or the one that an interval tells."""
    if np.isfinite(row["se"]):
        source = "alpha and beta" if row["obtained"] == "alpha, beta" else "published"
        return pd.Series({"se": row["se"], "se_from": source})
    if np.isfinite(row["low"]):
        width = row["high"] - row["low"]
        error = width / (2 * norm.ppf((1 + row["level"]) / 2))
        return pd.Series({"se": error, "se_from": "interval"})
    return pd.Series({"se": np.nan, "se_from": ""})
