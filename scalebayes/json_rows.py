"""Rows as the JSON object that every command prints."""

import json
import math


def rows_json(rows, *, version, converged, **more):
    """Return rows as the JSON object that every command prints; NaN and infinities are null.

    Parameters
    ----------
    rows : list of dict
    version : str
        Of scalebayes.
    converged : bool or None
        None where nothing was sampled.
    **more
        Further entries, put before the rows.

    Returns
    -------
    str
    """
    everything = {"version": version, "converged": converged, **more, "rows": rows}
    return json.dumps(_plain(everything), indent=2, allow_nan=False)


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
