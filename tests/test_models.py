"""Every file of `models/`: it samples a small study, and its saved result knows what it was.

That each file loads, is flat, builds and draws from its prior is in test_hypotheses and test_build.
"""

import dataclasses
import warnings

import numpy as np
import pytest
from fits import study_of

import scalebayes as sb
from scalebayes.build import latent_names, run_data
from scalebayes.compiled import log_density
from scalebayes.hypotheses import LATENT, hypothesis_from_json, hypothesis_names, load_hypothesis

DRAWS = 150


def small(study):
    """About thirty of a study's used rows; of isoFLOP lines, every second budget."""
    runs = study.runs.assign(left_out="")
    if study.name.startswith("porian"):
        budgets = np.sort(runs["flops"].unique())
        return dataclasses.replace(study, table=runs[runs["flops"].isin(budgets[::2])])
    return dataclasses.replace(study, table=runs.iloc[::8])


@pytest.mark.slow
@pytest.mark.parametrize("name", hypothesis_names())
def test_a_saved_fit_of_every_file_rebuilds_the_log_density_it_was_drawn_from(name, tmp_path):
    study = small(study_of(name))
    assert study.n_used < 45
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sb.NotConvergedWarning)  # so few draws need not pass
        fit = sb.fit(study, name, draws=DRAWS, tune=300, chains=2, cores=1, cache=False)
    path = tmp_path / "fit.nc"
    sb.save_fit(fit, path)
    read = sb.load_fit(path)
    hypothesis = hypothesis_from_json(read.attrs["hypothesis"])
    assert hypothesis == load_hypothesis(name)
    posterior = read["posterior"].to_dataset()
    latents = [key for key in latent_names(hypothesis) if key in posterior]
    every = posterior["omega"].to_numpy() if hypothesis.counting == LATENT else np.zeros((2, DRAWS))
    drawn = read["sample_stats"]["lp"].to_numpy()
    assert np.isfinite(posterior[latents].to_array()).all()
    for omega in np.unique(every):
        fixed = omega if hypothesis.counting == LATENT else None
        density = log_density(run_data(study, hypothesis, omega=fixed), hypothesis)
        at = every == omega
        points = density.unconstrain({key: posterior[key].to_numpy()[at] for key in latents})
        np.testing.assert_allclose(density.values(points), drawn[at], rtol=1e-9, atol=1e-9)
