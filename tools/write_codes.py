"""Write docs/codes.md, what every SB code means, from scalebayes/codes.py.

python tools/write_codes.py
"""

import textwrap
from pathlib import Path

from scalebayes.codes import CODES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "codes.md"

_KINDS = (
    ("SB1", "Warnings and notes", "The table is used as it is; the result says so."),
    ("SB2", "Refusals", "The table is not used (exit code 2); nothing is written."),
)


def page():
    """Return the page as text."""
    parts = [
        "# Codes",
        _wrapped(
            "Written by `python tools/write_codes.py` from `scalebayes/codes.py`. What is said "
            "about a user's table begins with one of these codes, which never change their meaning."
        ),
    ]
    for prefix, title, meaning in _KINDS:
        parts += [f"## {title}", meaning]
        parts += [_entry(name, code) for name, code in CODES.items() if name.startswith(prefix)]
    return "\n\n".join(parts) + "\n"


def _entry(name, code):
    meaning, advice = (text.replace("*", r"\*") for text in (code.meaning, code.what_to_do))
    heading = f"### {name}: {code.title}"
    return "\n\n".join([heading, _wrapped(meaning), _wrapped(f"*What to do.* {advice}")])


def _wrapped(text):
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def main():
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
