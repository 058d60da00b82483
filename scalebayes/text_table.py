"""Texts as a plain table for a terminal."""


def text_table(table, *, gap="  "):
    """Return a DataFrame of texts as aligned columns, its headers wrapped over two lines.

    Parameters
    ----------
    table : DataFrame
        Texts. Columns that are empty throughout are left out.
    gap : str
        Between columns.

    Returns
    -------
    str
    """
    shown = table.loc[:, (table != "").any()]
    return columns_text({str(name): list(shown[name].astype(str)) for name in shown}, gap=gap)


def columns_text(columns, *, gap="  "):
    """Return columns of texts side by side, their headers wrapped over two lines.

    Parameters
    ----------
    columns : dict of str to list of str
        Header -> cells, as many in each.
    gap : str
        Between columns.

    Returns
    -------
    str
    """
    cells = [[*_two_lines(head), *texts] for head, texts in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    lines = [
        gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*cells, strict=True)
    ]
    return "\n".join([*lines[:2], gap.join("-" * width for width in widths), *lines[2:]])


def _two_lines(head):
    """Return a header as two lines, broken where the longer one is shortest."""
    words = head.split()
    breaks = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(len(words))]
    return min(breaks, key=lambda lines: max(map(len, lines)))
