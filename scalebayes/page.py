"""Figures, tables and sentences -> one HTML page that needs nothing else: no network, no script."""

import html
import io
import math
import numbers
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from scalebayes.errors import InputError

_SVG_RC = {"svg.hashsalt": "scalebayes", "svg.image_inline": True}
_ONE_FONT = re.compile(r"(?<=[:x] )'DejaVu Sans'(?=[;\"])")
_SIMILAR = "'DejaVu Sans', Verdana, sans-serif"  # of much the same widths, where it is missing
_ANCHOR = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NUMBER = re.compile(r"[\s\d.,:;eE+<>~≤≥±×%()\[\]–−-]*\d[\s\d.,:;eE+<>~≤≥±×%()\[\]–−-]*")
_LEFT_OUT = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.S)
_MISSING = "–"
_NOTHING = ("", _MISSING, "-", "—", "n/a")
_LARGEST = 1.8  # pixels per point of a figure, so that its letters stay near the page's own
_SMALL = 450  # points of width below which a figure does not fill a printed page
_LONG = 34  # letters of a cell from which on it may break into lines

_STYLE = """
:root{color-scheme:light dark;--ink:#1c1c1e;--soft:#5a5a60;--page:#fff;--line:#d4d4d8;
--head:#f3f3f5;--link:#0059b3;--bad:#a3001b;--bad-page:#fdecee}
@media (prefers-color-scheme:dark){:root{--ink:#ececee;--soft:#a9a9b2;--page:#17181b;--line:#3c3d43;
--head:#232429;--link:#8ab8ff;--bad:#ff9aa8;--bad-page:#3a1219}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:17px/1.55 system-ui,sans-serif;
overflow-wrap:break-word}
main{max-width:1000px;margin:0 auto;padding:1.2rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.25;margin:.4em 0}
h2{font-size:1.25rem;line-height:1.3;margin:2.6em 0 .5em;scroll-margin-top:1rem}
p,ul{max-width:44em}
a{color:var(--link)}
nav ul{padding-left:1.2em;columns:2 18em;max-width:none}
figure{margin:1em 0}
details{margin:.4em 0}
pre{font-size:.8rem;line-height:1.35;white-space:pre-wrap;border:1px solid var(--line);
border-radius:6px;padding:.7em;max-height:30em;overflow:auto}
summary{cursor:pointer}
figcaption{color:var(--soft);font-size:.92rem;max-width:48em;margin:.5em 0}
.card{background:#fff;border:1px solid var(--line);border-radius:6px;padding:.4rem}
.card svg{display:block;width:100%;height:auto;margin:0 auto}
.card svg *{stroke-linejoin:round;stroke-linecap:butt}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;font-size:.88rem;line-height:1.4;width:100%}
th,td{padding:.35em .7em;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
td{white-space:nowrap}
.long{white-space:normal;min-width:15em}
thead th{background:var(--head);vertical-align:bottom}
tbody th{font-weight:600}
tbody th:not(.long){white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}
.num{text-align:right;font-variant-numeric:tabular-nums}
.bad{color:var(--bad);font-weight:600}
.banner{border:2px solid var(--bad);background:var(--bad-page);border-radius:6px;padding:.5em 1em;
margin:1em 0}
.banner ul{margin:0;padding-left:1.1em;max-width:none}
@media (max-width:600px){th,td{padding:.3em .5em}td:not(.num){white-space:normal}
.long{min-width:9em;overflow-wrap:anywhere}}
@media print{:root{--ink:#000;--soft:#333;--page:#fff;--line:#bbb;--head:#eee;--bad:#a3001b;
--bad-page:#fff;--link:#000}
body{font-size:10pt}main{max-width:none;padding:0}nav{display:none}
h2{margin-top:1.4em;break-after:avoid}figure,tr,.banner{break-inside:avoid}
.scroll{overflow:visible;border:0}tbody th:not(.long),td{white-space:normal}table{font-size:7.5pt}
th,td,.long{padding:.25em .4em;min-width:0}.card{border:0;padding:0}.card svg{max-height:86vh}
.card svg.small{margin:0;width:13cm}}
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """One part of a page: any of a text, a figure, a table, folded figures and folded texts.

    Parameters
    ----------
    heading : str
    figure : Figure or str, optional
        A figure, or the text of one from `svg_text`.
    table : DataFrame, optional
        The index is shown unless it only counts rows.
    text : str
        Paragraphs with an empty line between them; lines that begin with "- " make a list.
    caption : str
        Of the figure, or of the table where there is none. Its first sentence is what a screen
        reader says of them.
    anchor : str
        Where links lead; by default made from the heading.
    folded : dict of str to (Figure or str)
        Title -> figure, each hidden until its title is clicked.
    texts : dict of str to str
        Title -> text to copy, shown letter by letter, hidden likewise.
    """

    heading: str
    figure: Figure | str | None = None
    table: pd.DataFrame | None = None
    text: str = ""
    caption: str = ""
    anchor: str = ""
    folded: dict[str, Figure | str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def link(self) -> str:
        """Return the anchor, or one made from the heading."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-")
        return self.anchor or (slug if _ANCHOR.fullmatch(slug) else f"section-{slug}".strip("-"))


def page(*, title, lead, sections, warnings=()):
    """Return a self-contained HTML page: warnings, lead, then sections, those with figures first.

    The same input gives the same bytes.

    Parameters
    ----------
    title : str
    lead : str
        What the page comes to, as `Section.text`.
    sections : sequence of Section
    warnings : sequence of str
        Lines of the banner on top, such as `not_converged(fits)`.

    Returns
    -------
    str

    Raises
    ------
    InputError
        When two sections share an anchor, or an anchor is no plain word.
    """
    ordered = sorted(sections, key=lambda section: section.figure is None)
    _check_anchors(ordered)
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        banner(warnings),
        prose(lead),
        _contents(ordered),
        *map(_section, ordered),
    ]
    body = "\n".join(part for part in parts if part)
    return _DOCUMENT.format(title=html.escape(title), style=_STYLE, body=body)


_DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def banner(lines):
    """Return a box of warnings in HTML, one per line, or "" where there is none."""
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<div class="banner" role="alert"><ul class="bad">{items}</ul></div>'


def not_converged(fits):
    """Return a line for each fit that did not converge: "NOT CONVERGED: study: what was wrong".

    Parameters
    ----------
    fits : mapping of str to DataTree

    Returns
    -------
    tuple of str
    """
    return tuple(
        f"NOT CONVERGED: {name}: {fit.attrs['problems']}"
        for name, fit in fits.items()
        if not fit.attrs["converged"]
    )


def prose(text):
    """Return paragraphs and lists in HTML: an empty line ends one, "- " begins an item."""
    blocks = (block.strip() for block in re.split(r"\n\s*\n", text))
    return "\n".join(_block(block.splitlines()) for block in blocks if block)


def _block(lines):
    if all(line.lstrip().startswith("- ") for line in lines):
        items = (html.escape(line.lstrip()[2:]) for line in lines)
        return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"
    return f"<p>{html.escape(' '.join(line.strip() for line in lines))}</p>"


def svg_text(figure, *, outlined=True):
    """Return a figure as the text of an SVG file; the same figure gives the same text.

    Parameters
    ----------
    figure : Figure
    outlined : bool
        Letters are shapes, the same on every machine; otherwise text in a font that the reader
        has, in half the bytes.

    Notes
    -----
    An automatic layout of the figure is fixed first: another drawing would move it a little.
    """
    buffer = io.StringIO()
    with rc_context(_SVG_RC | {"svg.fonttype": "path" if outlined else "none"}):
        _fix_layout(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue() if outlined else _ONE_FONT.sub(_SIMILAR, buffer.getvalue())


def inline_svg(figure, *, label, prefix):
    """Return a figure as an <svg> element for an HTML page.

    Parameters
    ----------
    figure : Figure or str
        A figure, or its `svg_text`.
    label : str
        What a screen reader says.
    prefix : str
        Before every id, so that the figures of a page do not share one.

    Returns
    -------
    str
        Without namespaces, metadata and comments, and as wide as the place it is put into, but for
        small figures.
    """
    svg = _LEFT_OUT.sub("", figure if isinstance(figure, str) else svg_text(figure))
    opening, content = re.fullmatch(r".*?<svg([^>]*)>(.*)</svg>\s*", svg, re.S).groups()
    box = re.search(r'viewBox="([^"]*)"', opening)[1]
    content = re.sub(r'\bid="', f'id="{prefix}-', content.replace("xlink:href", "href"))
    content = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", content)
    content = re.sub(r">\s+<", "><", content).strip()
    width = float(box.split()[2])
    kind = ' class="small"' if width < _SMALL else ""
    return (
        f'<svg viewBox="{box}"{kind} style="max-width:{_LARGEST * width:.0f}px" role="img" '
        f'aria-label="{html.escape(label)}">{content}</svg>'
    )


def _fix_layout(figure):
    """Lay a figure out once: with the metrics of this program's font, and not when it is drawn."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def table_html(table, *, label):
    """Return a DataFrame as an HTML table in a box that scrolls sideways.

    Numbers stand to the right, with four significant digits; a missing value is a dash.

    Parameters
    ----------
    table : DataFrame
    label : str
        What a screen reader says.
    """
    index = [] if isinstance(table.index, pd.RangeIndex) else _levels(table.index)
    columns = [*index, *(table.iloc[:, i] for i in range(table.shape[1]))]
    cells = [[cell_text(value) for value in column] for column in columns]
    kinds = [' class="num"' if _is_numeric(column) else "" for column in cells]
    names = [_name(column.name) for column in columns]
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(name)}</th>'
        for name, kind in zip(names, kinds, strict=True)
    )
    rows = "\n".join(_row(row, kinds, len(index)) for row in zip(*cells, strict=True))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(cells, kinds, named):
    parts = []
    for i, (cell, kind) in enumerate(zip(cells, kinds, strict=True)):
        tag, scope = ("th", ' scope="row"') if i < named else ("td", "")
        kind = ' class="long"' if len(cell) > _LONG else kind
        kind = ' class="bad"' if "not converged" in cell.lower() else kind
        parts.append(f"<{tag}{scope}{kind}>{html.escape(cell)}</{tag}>")
    return f"<tr>{''.join(parts)}</tr>"


def _levels(index):
    return [index.get_level_values(level) for level in range(index.nlevels)]


def _name(name):
    if isinstance(name, tuple):
        return " ".join(map(str, name)).strip()
    return "" if name is None else str(name)


def cell_text(value):
    """Return the value of a table's cell as people read it."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return str(value)
    if isinstance(value, numbers.Real):
        return _MISSING if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return _MISSING if value is None or value is pd.NA or value is pd.NaT else str(value)


def _is_numeric(cells):
    told = [cell for cell in cells if cell not in _NOTHING]
    return bool(told) and all(_NUMBER.fullmatch(cell) for cell in told)


def _check_anchors(sections):
    links = [section.link for section in sections]
    for link in links:
        if not _ANCHOR.fullmatch(link):
            msg = f"anchor {link!r}: use letters, digits, - and _, a letter first."
            raise InputError(msg)
        if links.count(link) > 1:
            msg = f"anchor {link!r}: two sections share it; give one of them another."
            raise InputError(msg)


def _contents(sections):
    if len(sections) < 3:
        return ""
    items = (f'<li><a href="#{s.link}">{html.escape(s.heading)}</a></li>' for s in sections)
    return f'<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>'


def _section(section):
    label = re.split(r"(?<=[.!?])\s", section.caption.strip(), maxsplit=1)[0] or section.heading
    parts = [f'<h2 id="{section.link}">{html.escape(section.heading)}</h2>', prose(section.text)]
    caption = f"<figcaption>{html.escape(section.caption)}</figcaption>" if section.caption else ""
    if section.figure is not None:
        svg = inline_svg(section.figure, label=label, prefix=section.link)
        parts.append(f'<figure><div class="card">{svg}</div>{caption}</figure>')
        caption = ""
    if section.table is not None:
        parts.append(f"<figure>{caption}{table_html(section.table, label=label)}</figure>")
    for number, (title, figure) in enumerate(section.folded.items()):
        parts.append(_folded(title, figure, prefix=f"{section.link}-{number}"))
    parts += [_folded_text(title, text) for title, text in section.texts.items()]
    return "<section>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def _folded(title, figure, *, prefix):
    svg = inline_svg(figure, label=title, prefix=prefix)
    summary = f"<summary>{html.escape(title)}</summary>"
    return f'<details>{summary}<figure><div class="card">{svg}</div></figure></details>'


def _folded_text(title, text):
    summary = f"<summary>{html.escape(title)}</summary>"
    return f"<details>{summary}<pre>{html.escape(text)}</pre></details>"
