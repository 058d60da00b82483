import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib import rc_context
from matplotlib.figure import Figure

from scalebayes.errors import InputError
from scalebayes.page import (
    Section,
    banner,
    inline_svg,
    not_converged,
    page,
    prose,
    svg_text,
    table_html,
)

EVIL = "<script>alert('x')</script> & \"more\""
_VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """Collects tags, attributes and texts; counts elements that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.words, self.unbalanced = [], [], [], [], 0

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        self.unbalanced += not self.open or self.open.pop() != tag

    def handle_data(self, data):
        self.words.append(data)


def outline(text):
    parser = Outline()
    parser.feed(text)
    parser.close()
    return parser


def made_figure(text="text"):
    figure = Figure(figsize=(3, 2), layout="constrained")
    ax = figure.subplots()
    ax.plot([1, 2], [1, 3], "o-")
    ax.fill_between([1, 2], [1, 2], [2, 4], hatch="//")
    ax.set_title(text)
    figure.colorbar(ax.scatter([1, 2], [1, 2], c=[1, 2]), ax=ax)
    return figure


def made_page(**changes):
    table = pd.DataFrame({"name": ["alpha"], "median": [0.34567], "lower": [np.nan]})
    sections = [
        Section(heading="Table", table=table, caption="Medians. More."),
        Section(heading="First figure", figure=made_figure(), caption="A line rises. Details."),
        Section(heading="Second figure", figure=made_figure("other")),
    ]
    return page(**{"title": "Title", "lead": "Lead.", "sections": sections} | changes)


def test_same_input_same_bytes():
    sections = [Section(heading="Figure", figure=made_figure())]
    again = [Section(heading="Figure", figure=made_figure())]
    first = made_page(sections=sections)
    assert first == made_page(sections=sections) == made_page(sections=again)


def test_the_page_asks_nothing_of_a_network():
    text = made_page()
    assert not re.search(r"(https?:)?//\w", text)
    parsed = outline(text)
    assert not {"script", "link", "iframe", "img"} & set(parsed.tags)
    links = [value for name, value in parsed.attributes if name in ("href", "src")]
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_the_browser_is_told_to_load_nothing():
    assert "default-src 'none'" in made_page()


def test_every_tag_is_closed():
    parsed = outline(made_page(warnings=["one"], lead="A.\n\n- b\n- c"))
    assert parsed.unbalanced == 0 and parsed.open == []


def test_what_a_user_gives_is_escaped_everywhere():
    table = pd.DataFrame({EVIL: [EVIL]}, index=pd.Index([EVIL], name=EVIL))
    figure = made_figure("<script>")
    figure.axes[0].set_gid(EVIL)
    section = Section(heading=EVIL, text=EVIL, table=table, figure=figure, caption=EVIL)
    text = page(title=EVIL, lead=f"{EVIL}\n\n- {EVIL}", sections=[section], warnings=[EVIL])
    parsed = outline(text)
    assert "<script" not in text
    assert "script" not in parsed.tags
    assert "".join(parsed.words).count(EVIL) >= 9
    assert parsed.unbalanced == 0


def test_sections_with_figures_come_first_in_their_order():
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", made_page())
    assert headings == ["First figure", "Second figure", "Table"]


def test_no_two_elements_share_an_id_and_every_reference_has_its_element():
    text = made_page()
    attributes = outline(text).attributes
    ids = [value for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    asked = re.findall(r'(?:href="|url\()#([^")]+)', text)
    assert asked and set(asked) <= set(ids)


def test_a_figures_label_is_the_first_sentence_of_its_caption():
    labels = [value for name, value in outline(made_page()).attributes if name == "aria-label"]
    assert "A line rises." in labels
    assert "Second figure" in labels  # the heading, where there is no caption


def test_a_figure_has_no_size_of_its_own_but_a_largest_width():
    svg = inline_svg(made_figure(), label="a", prefix="p")
    opening = re.match(r"<svg ([^>]*)>", svg)[1]
    assert opening.startswith('viewBox="0 0 216 144"')
    assert opening.endswith('style="max-width:389px" role="img" aria-label="a"')
    assert not re.search(r'\b(width|height)="', opening)


def test_a_text_to_copy_is_folded_and_shown_letter_by_letter():
    section = Section(heading="To paste", texts={"Markdown": "| a < b |\n"})
    shown = page(title="t", lead="", sections=[section])
    assert "<details><summary>Markdown</summary><pre>| a &lt; b |\n</pre></details>" in shown


def test_a_figure_is_as_before_after_it_was_put_into_a_page():
    figure = made_figure()
    first = inline_svg(figure, label="a", prefix="p")
    assert inline_svg(figure, label="a", prefix="p") == first


def test_numbers_stand_to_the_right_and_words_to_the_left():
    table = pd.DataFrame(
        {
            "number": [0.123456, np.nan],
            "count": [3, 4],
            "interval": ["0.5 [0.4, 0.6]", "–"],
            "share": ["<.01", "-"],
            "word": ["alpha", "1 of 3"],
        }
    )
    text = table_html(table, label="t")
    kinds = re.findall(r'<th scope="col"( class="num")?>(\w+)</th>', text)
    numeric = [name for kind, name in kinds if kind]
    assert numeric == ["number", "count", "interval", "share"]
    assert '<td class="num">0.1235</td>' in text
    assert '<td class="num">–</td>' in text


def test_an_index_is_shown_only_when_it_says_something():
    table = pd.DataFrame({"x": [1, 2]})
    assert 'scope="row"' not in table_html(table, label="t")
    named = table_html(table.set_axis(["a", "b"]), label="t")
    assert '<th scope="row">a</th>' in named
    assert '<th scope="col"></th>' in named


def test_a_table_scrolls_inside_its_box_and_can_be_reached_by_keyboard():
    text = table_html(pd.DataFrame({"x": [1]}), label="t")
    assert text.startswith('<div class="scroll" tabindex="0" role="region" aria-label="t"><table>')
    assert ".scroll{overflow-x:auto" in made_page()


def test_a_table_without_rows_keeps_its_head():
    assert ">x</th>" in table_html(pd.DataFrame({"x": []}), label="t")


def test_yes_and_no_stand_for_booleans_and_a_dash_for_nothing():
    table = pd.DataFrame({"x": [True, np.False_, None, (1, "b")]}, dtype=object)
    cells = re.findall("<td[^>]*>(.*?)</td>", table_html(table, label="t"))
    assert cells == ["yes", "no", "–", "1, b"]


def test_not_converged_stands_out_in_a_table():
    text = table_html(pd.DataFrame({"mark": ["not converged", ""]}), label="t")
    assert '<td class="bad">not converged</td>' in text


def test_the_banner_names_each_fit_that_did_not_converge():
    good, bad = xr.DataTree(), xr.DataTree()
    good.attrs = {"converged": 1, "problems": ""}
    bad.attrs = {"converged": 0, "problems": "r_hat 1.10"}
    lines = not_converged({"a": good, "b": bad})
    assert lines == ("NOT CONVERGED: b: r_hat 1.10",)
    text = made_page(warnings=lines)
    assert 'role="alert"' in text
    assert text.index("NOT CONVERGED: b") < text.index("Lead.")


def test_without_warnings_there_is_no_banner():
    assert banner([]) == ""
    assert 'class="banner"' not in made_page()


def test_paragraphs_and_lists():
    assert prose("a\nb\n\n- c\n- d") == "<p>a b</p>\n<ul><li>c</li><li>d</li></ul>"


def test_two_sections_of_one_anchor_are_refused():
    with pytest.raises(InputError, match="anchor 'same': two sections"):
        made_page(sections=[Section(heading="Same"), Section(heading="same!")])


def test_an_anchor_that_is_no_plain_word_is_refused():
    with pytest.raises(InputError, match="use letters"):
        made_page(sections=[Section(heading="a", anchor='x" onload="y')])


@pytest.mark.parametrize(
    ("heading", "link"), [("D*/N* at 1e24", "d-n-at-1e24"), ("1", "section-1")]
)
def test_an_anchor_is_made_from_the_heading(heading, link):
    assert Section(heading=heading).link == link


def folded_page():
    folded = {EVIL: made_figure(), "second": svg_text(made_figure())}
    table = pd.DataFrame({"a": [1]})
    sections = [Section(heading="Checks", table=table, folded=folded)]
    sections += [Section(heading="Figure", figure=made_figure())]
    return page(title="t", lead="", sections=sections)


def test_folded_figures_are_closed_under_their_titles_and_share_no_id():
    text = folded_page()
    found = outline(text)
    assert found.unbalanced == 0
    assert (found.tags.count("details"), found.tags.count("svg")) == (2, 3)
    assert "open" not in dict(found.attributes)
    assert EVIL in found.words and "second" in found.words
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_section_with_folded_figures_stands_among_the_tables():
    text = folded_page()
    assert text.index('id="figure"') < text.index('id="checks"')


def test_the_text_of_a_figure_stands_for_the_figure():
    figure = made_figure()
    text = svg_text(figure)
    assert inline_svg(text, label="x", prefix="p") == inline_svg(figure, label="x", prefix="p")


def test_letters_are_shapes_or_text_and_text_takes_less_room():
    with rc_context({"font.family": "DejaVu Sans"}):
        figure = made_figure("unmistakable")
    figure.axes[0].set_title("bold", loc="left", fontweight="bold")
    shapes, text = svg_text(figure), svg_text(figure, outlined=False)
    assert ">unmistakable</text>" in text and "</text>" not in shapes
    assert len(text) < 0.75 * len(shapes)
    assert text.count("sans-serif") == text.count("</text>")
