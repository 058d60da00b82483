"""Codes of what is said about a user's table: warnings and notes SB1xx, refusals SB2xx, as data.

A code never changes its meaning; `docs/codes.md` is written from this module.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Code:
    """What a code stands for.

    Parameters
    ----------
    title : str
        In a few words.
    meaning : str
        When it is said, and why it matters.
    what_to_do : str
    """

    title: str
    meaning: str
    what_to_do: str


CODES = {
    "SB101": Code(
        title="Unit taken for granted",
        meaning="A column's unit was not said, so parameters, tokens or nats per token are taken.",
        what_to_do="Say it: --units N=1,D=B and --loss-unit nats; in Python units={...}.",
    ),
    "SB102": Code(
        title="Counting of N not said",
        meaning="What N counts is unknown, so no hypothesis knows which N to take, and no D*/N* "
        "can be given in a counting that others use.",
        what_to_do="Say --counting body, body+head or total; SB110 says what N agrees with.",
    ),
    "SB103": Code(
        title="Exponents not identified",
        meaning="There is one model size or one token count only, or log D is (nearly) a straight "
        "line of log N (R² above .99). Losses along one line fit any split between N and D.",
        what_to_do="Add runs off that line: the same sizes with fewer and more tokens.",
    ),
    "SB104": Code(
        title="Unusual model sizes",
        meaning="N lies outside 1e5 to 1e13 parameters; often a wrong unit.",
        what_to_do="Check --units N=...; take the rows out where the law is not meant for them.",
    ),
    "SB105": Code(
        title="Repeated data",
        meaning="Runs saw their data more than four times; the laws are for fresh tokens.",
        what_to_do="Take these rows out, or read D*/N* with that in mind.",
    ),
    "SB106": Code(
        title="Replicates",
        meaning="Rows repeat the N and D of another with another loss; they are kept and tell of "
        "the noise.",
        what_to_do="Nothing, if they are separate runs; else keep one of each.",
    ),
    "SB107": Code(
        title="FLOP taken as 6 N D",
        meaning="What the column flops counts was not said; it is 6 N D to 1% in every row.",
        what_to_do='Say it in Python: flops="6ND" (or another of counting.FLOPS).',
    ),
    "SB108": Code(
        title="FLOP of no known kind",
        meaning="What the column flops counts was not said, and it is not 6 N D. Budgets of these "
        "runs then cannot be compared with those of others.",
        what_to_do='Say flops="exact" or a convention of counting.FLOPS, or use study.reflop.',
    ),
    "SB109": Code(
        title="N computed from shapes",
        meaning="The table has no N; it was computed from width and layers in the counting asked "
        "for, by the formulas of architecture.Shape (norms and biases left out).",
        what_to_do="Map a column to N if there is one; say --gated for three feed-forward "
        "matrices.",
    ),
    "SB110": Code(
        title="N and the shapes disagree",
        meaning="Counts made from width and layers differ by more than 5% from N in the counting "
        "said, or none was said. It names the counting that N agrees with best; nothing is "
        "converted.",
        what_to_do="Correct --counting, --vocab-size, --tied or --gated, or the unit of N.",
    ),
    "SB111": Code(
        title="Weight on omega not identified",
        meaning="Whether the law counts vocabulary matrices cannot be told from these runs: body "
        "and head are not known for every row, or more than half of the prior's standard deviation "
        "of omega is expected to be left.",
        what_to_do="Give d_model, vocab_size and tied; add small models. Fits with a stated "
        "counting are not touched by it.",
    ),
    "SB112": Code(
        title="Several checkpoints of a run",
        meaning="Rows of one training run share its luck; they count for less than as many runs. "
        "A checkpoint before the learning rate has decayed also has a higher loss than a run of "
        "that length would have.",
        what_to_do="Use --rows last where only finished runs compare; else keep the trajectory "
        "column, which adds a run effect.",
    ),
    "SB113": Code(
        title="Rows outside the usual window",
        meaning="Some rows have fewer than 2 tokens per parameter or fewer than 1.5e8 tokens "
        "(window of Porian et al. 2024); laws are known to miss there. They are used.",
        what_to_do="Take them out of the file and see whether D*/N* moves.",
    ),
    "SB114": Code(
        title="Target far beyond the runs",
        meaning="The budget asked for is more than one decade above the largest of the runs.",
        what_to_do="Read the interval with the discrepancy; add runs at larger budgets.",
    ),
    "SB115": Code(
        title="Tokens computed from steps",
        meaning="D was computed as step times tokens per step.",
        what_to_do="Check that step counts updates of the weights, not micro-batches.",
    ),
    "SB116": Code(
        title="Fewer than eight runs",
        meaning="A law with noise has seven parameters; the posterior is mostly its prior.",
        what_to_do="Add runs, or fit --with-literature.",
    ),
    "SB117": Code(
        title="Answer mostly prior",
        meaning="For runs with this N and D, the expected error of the growth of N* with compute "
        "is more than half of the prior's, even if a law held with 1% noise.",
        what_to_do="Add runs as the report says, or fit --with-literature.",
    ),
    "SB118": Code(
        title="Loss of an unlikely kind",
        meaning="The median loss is above 12.5 nats per token, more than a model has that takes "
        "each of 260000 tokens for equally likely; or the column's name says that it is a "
        "perplexity or bits per byte. The laws are for a loss per token.",
        what_to_do="Map a loss per token. The natural logarithm of a perplexity per token is in "
        "nats; bits per byte, times bytes per token, are bits per token.",
    ),
    "SB119": Code(
        title="Loss unlikely in its unit",
        meaning="The smallest loss is less than 0.65 or more than 1.4 times that of published "
        "runs with its N and D; those of the bundled studies lie between 0.74 and 1.29. Nothing is "
        "converted.",
        what_to_do="Check --loss-unit, and that the loss is per token. A law fitted to losses in "
        "the wrong unit has the same exponents and another E.",
    ),
    "SB201": Code(
        title="File not readable",
        meaning="There is no such file, it cannot be opened, it is no table of the kind that its "
        "ending says, or its text is not UTF-8.",
        what_to_do="Check the path; save as CSV UTF-8, Parquet or JSON lines.",
    ),
    "SB202": Code(
        title="Not a table",
        meaning="The file is empty, a row has more or fewer fields than the header, a name comes "
        "twice, or a line is broken.",
        what_to_do="Correct the line named.",
    ),
    "SB203": Code(
        title="Column not found",
        meaning="A column that is needed, or was mapped, is not in the table.",
        what_to_do="Paste the --columns that the message proposes, after checking it.",
    ),
    "SB204": Code(
        title="Option not usable",
        meaning="columns, units or rows name something unknown, or one column is read as two.",
        what_to_do="Use one of the names that the message lists.",
    ),
    "SB205": Code(
        title="Impossible number",
        meaning="A cell is text, infinite, negative, or zero where zero is impossible.",
        what_to_do="Correct the cell; write 1000 or 1e3, not 1,000.",
    ),
    "SB206": Code(
        title="Missing value",
        meaning="N, D or loss is blank in a row.",
        what_to_do="Fill it in, or leave such rows out and counted: --drop-missing; for a "
        "logger's export --rows last.",
    ),
    "SB207": Code(
        title="Exact duplicate",
        meaning="A row has the same values as an earlier one in every column read.",
        what_to_do="--dedupe leaves them out and counts them; map run if they are separate runs.",
    ),
    "SB208": Code(
        title="Run named twice",
        meaning="Two rows have one run name; a run has one row unless --rows says otherwise.",
        what_to_do="Map the name as trajectory, or use --rows last or --rows checkpoints.",
    ),
    "SB209": Code(
        title="Unit unlikely or unknown",
        meaning="N or D looks like thousands, millions or billions, or D/N is outside .01 to "
        "100000, and no unit was said; or the unit said is unknown.",
        what_to_do="Say the unit: --units N=B,D=B (1 if the numbers are right).",
    ),
    "SB210": Code(
        title="Too few runs",
        meaning="Fewer rows are left than a law with noise needs (8).",
        what_to_do="Add runs, or accept a posterior that is mostly prior: --prior-dominated-ok.",
    ),
    "SB211": Code(
        title="One loss in every row",
        meaning="Nothing can be learned from a loss that does not vary.",
        what_to_do="Map another column to loss.",
    ),
    "SB212": Code(
        title="Several tokenizers",
        meaning="Losses per token of different tokenizers do not compare.",
        what_to_do="Read each tokenizer's runs as a study of its own.",
    ),
    "SB213": Code(
        title="Counting or vocabulary not usable",
        meaning="The counting is unknown, vocab_size or context_length is no positive number or is "
        "missing, or some runs have tied embeddings and others not.",
        what_to_do="Use body, body+head, total or unknown, and positive numbers.",
    ),
    "SB214": Code(
        title="A part larger than N",
        meaning="Embedding, head or body exceeds the N that contains it: a wrong counting or unit.",
        what_to_do="Check --counting, --units, --vocab-size and --tied.",
    ),
    "SB215": Code(
        title="FLOP convention not usable",
        meaning="The convention is unknown, or there is no column flops that it could be of.",
        what_to_do="Use one of counting.FLOPS, or leave it out.",
    ),
    "SB216": Code(
        title="Steps that do not make runs",
        meaning="In a table of steps a run's id or step is missing, a step comes twice with a "
        "loss, its tokens fall, or its N changes.",
        what_to_do="Take out what a restart wrote twice; give each run an id of its own.",
    ),
    "SB217": Code(
        title="N cannot be computed from shapes",
        meaning="N is missing, and width, layers, vocabulary or tying are not known for every row.",
        what_to_do="Give d_model and n_layers, and --vocab-size and --tied unless N is the body.",
    ),
    "SB218": Code(
        title="Unit of the loss not said",
        meaning="Nats and bits cannot be told apart by their size, so it is never guessed.",
        what_to_do="--loss-unit nats, bits or log10, per token.",
    ),
}
"""Code -> what it stands for."""


UNLIKELY_LOSS = ("SB118", "SB119")
"""Codes of warnings that are recorded with what was assumed: the loss may be of another kind."""

DESIGN_WARNINGS = {
    "exponents not identified": "SB103",
    "runs have N outside": "SB104",
    "runs saw their data more than": "SB105",
}
"""Words of a warning of `Study.design_warnings` -> its code."""


def coded(code: str, text: str) -> str:
    """Return a text that begins with its code.

    Parameters
    ----------
    code : str
        A key of `CODES`.
    text : str

    Raises
    ------
    KeyError
        When there is no such code.
    """
    if code not in CODES:
        raise KeyError(code)
    return f"{code}: {text}"


def coded_design_warning(text: str) -> str:
    """Return a text of `Study.design_warnings` that begins with its code.

    Raises
    ------
    KeyError
        When no code has these words.
    """
    if text.partition(":")[0] in CODES:
        return text
    for words, code in DESIGN_WARNINGS.items():
        if words in text:
            return coded(code, text)
    raise KeyError(text)
