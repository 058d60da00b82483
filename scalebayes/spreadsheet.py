"""Tables for spreadsheets: no cell that one would take for a formula."""

import pandas as pd

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which text that a spreadsheet would run is led by an apostrophe.

    Names of studies and of runs may be any text. Numbers, negative ones too, stay numbers.

    Parameters
    ----------
    table : DataFrame

    References
    ----------
    OWASP, CSV injection: https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return table.map(_as_text).rename(columns=_as_text)


def _as_text(cell):
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_STARTS) else cell
