"""Tables and sentences as Markdown, to paste into notes, issues and papers."""

import pandas as pd

from scalebayes.page import cell_text


def markdown_table(table):
    """Return a DataFrame as a Markdown table; its index is shown unless it only counts rows.

    Parameters
    ----------
    table : DataFrame

    Returns
    -------
    str
        Bars in cells are escaped, and lines joined.
    """
    shown = table if isinstance(table.index, pd.RangeIndex) else table.reset_index()
    head = [str(name) for name in shown]
    rows = [[cell_text(value) for value in row] for row in shown.itertuples(index=False)]
    lines = [_line(head), _line(["---"] * len(head)), *map(_line, rows)]
    return "\n".join(lines)


def markdown_text(title, warnings, lead, tables):
    """Return a whole report as Markdown.

    Parameters
    ----------
    title : str
    warnings : sequence of str
    lead : str
        As `page.Section.text`.
    tables : sequence of (str, DataFrame, str)
        Heading, table and what its numbers are.

    Returns
    -------
    str
    """
    blocks = [f"# {title}"]
    blocks += ["\n".join(f"- **{line}**" for line in warnings)] if warnings else []
    blocks.append(lead)
    for heading, table, caption in tables:
        blocks += [f"## {heading}", markdown_table(table), *([caption] if caption else [])]
    return "\n\n".join(blocks) + "\n"


def _line(cells):
    return "| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in cells) + " |"
