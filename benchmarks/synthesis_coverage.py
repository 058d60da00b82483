"""How often the 90% interval of a synthesis holds the exponent its literature was made with.

    python benchmarks/synthesis_coverage.py [-o docs/synthesis_coverage.md]
        [--simulations 100] [--results synthesis_coverage.jsonl]

Each simulation draws a law, a spread of run sets and of replicates, and 40 published exponents seen
through mixed countings and ranges, a fifth of the countings unknown and a third of the errors not
published. The model is compiled once. One line of JSON per simulation goes to the file of results,
so that an interrupted run goes on where it was.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from scalebayes.gate import Settings
from scalebayes.optimum import allocation_exponent
from scalebayes.synthesis_draws import compiled_synthesis, draw_synthesis
from scalebayes.synthesis_model import (
    filled_errors,
    prior_latents,
    simulated_values,
    synthesis_data,
)

RUN_SETS, REPLICATED = 28, 6
"""Run sets of one row, and of these how many have two replicates besides: 40 rows."""

COUNTINGS = (*["body"] * 10, *["body+head"] * 4, *["total"] * 8, *["unknown"] * 6)
MISSING = 13  # rows of 40 without an error
RANGES = ((8.9e12, 5e20), (1e17, 3e20), (1e18, 1e21), (6e18, 3e21), (1.3e16, 2.6e19))  # FLOP
SPREAD = 0.08  # of log alpha and log beta about log .35, sd .4; taus below
CI_PROB = 0.9
CLAIM = (0.84, 0.96)
SAMPLING = {"draws": 600, "tune": 400, "chains": 2, "cores": 1}
QUANTITIES = ("a", "tau_between", "tau_within")
