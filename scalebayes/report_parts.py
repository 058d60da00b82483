"""What reports are put together from: named tables, and a page with its Markdown."""

from dataclasses import dataclass, replace

import pandas as pd

from scalebayes.markdown import markdown_text
from scalebayes.page import Section, page


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """A report on fits.

    Parameters
    ----------
    title : str
    html : str
        A whole page that needs nothing else.
    markdown : str
        Its sentences and tables.
    sentences : tuple of str
        What it comes to.
    warnings : tuple of str
        What keeps its numbers from being findings.
    rows : list of dict
        Its numbers as tidy rows.
    converged : bool
    """

    title: str
    html: str
    markdown: str
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    rows: list[dict]
    converged: bool


@dataclass(frozen=True, eq=False)
class Table:
    """A table of a report: heading, where links lead, its cells, and what its numbers are."""

    heading: str
    anchor: str
    table: pd.DataFrame
    caption: str = ""

    def named(self, prefix, anchor):
        """Return the table with something before its heading and its anchor."""
        return replace(self, heading=f"{prefix}{self.heading}", anchor=f"{anchor}{self.anchor}")


def put_together(*, title, lead, warnings, figures, tables, rows, converged, texts=None):
    """Return a `Report` whose page ends with its own Markdown, folded.

    Parameters
    ----------
    title : str
    lead : sequence of str
    warnings : sequence of str
    figures : sequence of Section
    tables : sequence of Table
    rows : list of dict
    converged : bool
    texts : dict of str to str, optional
        More texts to copy, by title.

    Returns
    -------
    Report
        The same input gives the same bytes.
    """
    items = "\n".join(f"- {one}" for one in lead)
    parts = [(one.heading, one.table, one.caption) for one in tables]
    markdown = markdown_text(title, warnings, items, parts)
    sections = [
        Section(heading=one.heading, anchor=one.anchor, table=one.table, caption=one.caption)
        for one in tables
    ]
    copies = {"Everything above as Markdown": markdown, **(texts or {})}
    sections.append(Section(heading="To paste", anchor="to-paste", texts=copies))
    return Report(
        title=title,
        html=page(title=title, lead=items, sections=[*figures, *sections], warnings=warnings),
        markdown=markdown,
        sentences=tuple(lead),
        warnings=tuple(warnings),
        rows=rows,
        converged=bool(converged),
    )
