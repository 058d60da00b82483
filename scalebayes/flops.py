"""Training FLOP of a model of explicit shape, in every published convention; Kaplan's units.

Each convention is a function from a `Shape` to FLOP per training token, forward and backward. For
families of models the same conventions are `counting.flops_terms`.
"""

import numpy as np

from scalebayes.architecture import Shape
from scalebayes.counting import count_parameters, flops_counting, omega_of, parse_counting
from scalebayes.errors import CountingError, InputError

PF_DAY = 8.64e19
"""FLOP of a petaflop/s-day: 1e15 FLOP per second for 24 hours."""

_BACKWARD = 3.0  # the backward pass costs twice the forward pass: Kaplan et al. (2020), section 2.1


def six_n(shape, counting="total"):
    """Return 6 N: two FLOP per parameter forward, four backward.

    Parameters
    ----------
    shape : Shape
    counting : str or float
        What N counts, as in `counting.parse_counting`.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556 ("total"); Porian et al. (2024), arXiv:2406.19146
    ("body+head").
    """
    return 6.0 * parameters(shape, counting)


def kaplan(shape):
    """Return 6 body, without embeddings or attention over the context.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361, section 2.1.
    """
    return 6.0 * shape.body


def porian_attention(shape):
    """Return 6 (body + V d) + 6 n_ctx L k h: causal attention, half of it masked.

    References
    ----------
    Porian et al. (2024), arXiv:2406.19146, appendix B.
    """
    context = _context(shape, "porian-attention")
    return 6.0 * (shape.body + shape.head + context * shape.n_layers * shape.attention_width)


def deepseek(shape):
    """Return 72 L d^2 + 12 L d n_ctx, whatever the feed-forward width and the vocabulary.

    References
    ----------
    DeepSeek-AI (2024), arXiv:2401.02954, eq. 2.
    """
    context = _context(shape, "deepseek")
    return shape.n_layers * shape.d_model * (72.0 * shape.d_model + 12.0 * context)


def hoffmann_f(shape):
    """Return the FLOP of appendix F's blocks, without its terms for the vocabulary.

    Forward and per token, a layer costs 6 d k h (query, key, value) + 2 s k h (logits) + 3 h s
    (softmax) + 2 s k h (reduction) + 2 k h d (output) + 4 d f (feed-forward), at s = n_ctx. The
    appendix adds 2 V d for the embedding and for the logits, but its own table of ratios to 6 N D
    (1.03 at 73M to 0.99 at 6.8B) is met, within .006 at s = 2048, only without both; with both
    the 73M model has 1.58. The fifth attention matrix of these models (relative positions) counts
    in N and not in the FLOP.

    References
    ----------
    Hoffmann et al. (2022), arXiv:2203.15556, appendix F and table A4.
    """
    context = _context(shape, "hoffmann-f")
    d, width = shape.d_model, shape.attention_width
    attention = 8 * d * width + context * (4 * width + 3 * shape.n_heads)
    return _BACKWARD * shape.n_layers * (attention + 4 * d * shape.d_ff)


def gemstones(shape):
    """Return the count of the Gemstones suite: grouped queries, causal logits, flash attention.

    Forward and per token, a layer costs 2 d (q + 2 g) k for the projections (q query and g key or
    value heads of width k), 3.5 (q + g) k for rotary positions, q s (3 k + 3) for logits, softmax
    and reduction, 2 d q k for the output, 6 d f + 10 f for the gated feed-forward block and 16 d
    for norms and residuals; then 2 V d + 7 d. The backward pass costs twice that, and 2.5 times for
    logits, softmax and reduction.

    References
    ----------
    McLeish et al. (2025), arXiv:2502.06857, and its published code.
    """
    context = _context(shape, "gemstones")
    d, k, q = shape.d_model, shape.head_width, shape.n_heads
    grouped = q if shape.key_value_heads is None else shape.key_value_heads
    scores = context * q * (3 * k + 3)
    projections = 2 * d * k * (2 * q + 2 * grouped) + 3.5 * (q + grouped) * k
    feed_forward = (6 * d + 10) * shape.d_ff + 16 * d
    layers = shape.n_layers * (_BACKWARD * (projections + feed_forward) + 3.5 * scores)
    return layers + _BACKWARD * (2 * shape.head + 7 * d)


ATTENTION_COLUMNS = {
    "porian-attention": {"body", "head", "d_model", "n_layers"},
    "deepseek": {"d_model", "n_layers"},
    "hoffmann-f": {"d_model", "n_layers", "d_ff", "n_heads"},
}
"""Run columns that conventions which count attention are made of, besides the context length."""

_BY_NAME = {
    "porian-attention": porian_attention,
    "deepseek": deepseek,
    "hoffmann-f": hoffmann_f,
    "gemstones": gemstones,
}


def flop_per_token(shape, flops, *, counting="total"):
    """Return training FLOP per token, forward and backward, in a convention.

    Parameters
    ----------
    shape : Shape
    flops : str
        One of `counting.FLOPS`, or "gemstones".
    counting : str or float
        What N counts in "6ND"; other conventions do not use it.

    Returns
    -------
    float or array
        FLOP per token.

    Raises
    ------
    CountingError
        When the convention or the counting is unknown, or attention is charged for and the shape
        has no context_length.
    """
    if flops in _BY_NAME:
        return _BY_NAME[flops](shape)
    return six_n(shape, flops_counting(flops, counting))


def training_flop(shape, tokens, flops, *, counting="total"):
    """Return the FLOP of training on `tokens` tokens (> 0); else as `flop_per_token`."""
    return flop_per_token(shape, flops, counting=counting) * tokens


def charged_parameters(runs, flops, *, counting, context_length=None):
    """Return C / (6 D) of each run: the parameters that a FLOP convention charges its model for.

    Parameters
    ----------
    runs : DataFrame
        One row per run, with body, head and embedding in parameters where the convention counts
        them; d_model and n_layers where it counts attention; d_ff and n_heads in "hoffmann-f".
    flops : str
        One of `counting.FLOPS`. Feed-forward blocks have two matrices in "hoffmann-f", as printed.
    counting : str or float
        What N counts in "6ND".
    context_length : float, optional
        Tokens per sequence, > 0; needed where attention is counted.

    Returns
    -------
    ndarray
        Parameters, float, one per row.

    Raises
    ------
    CountingError
        When the convention or the counting is unknown, or what it is made of is not known for every
        run; the message names what is missing.
    """
    counted = flops_counting(flops, counting)
    if counted is not None:
        return count_parameters(runs, counted)
    shape = _shape_of_runs(runs, flops, context_length)
    if flops == "porian-attention":
        attention = context_length * shape.n_layers * shape.d_model
        return count_parameters(runs, "body+head") + attention
    return _BY_NAME[flops](shape) / 6.0


def _shape_of_runs(runs, flops, context_length):
    """Return the `Shape` of every run for a convention that counts attention."""
    columns = sorted(ATTENTION_COLUMNS[flops] - {"body", "head"})
    lacking = [name for name in columns if name not in runs or runs[name].isna().any()]
    lacking += ["context_length"] if context_length is None else []
    if lacking:
        msg = f"flops {flops!r} counts attention: {lacking} must be known for every run."
        raise CountingError(msg)
    sizes = {name: runs[name].to_numpy(dtype=float) for name in columns}
    sizes = {"d_ff": 4 * sizes["d_model"], "n_heads": 1.0} | sizes
    return Shape(**sizes, vocab_size=1.0, tied=True, context_length=context_length)


def parameters(shape, counting):
    """Return the parameters of a shape in a counting.

    Parameters
    ----------
    shape : Shape
    counting : str or float
        "body", "body+head", "total", or omega: body + omega V d.

    Raises
    ------
    CountingError
        When the counting is unknown.
    """
    counting = parse_counting(counting)
    return shape.total if counting == "total" else shape.body + omega_of(counting) * shape.head


def minimum_compute(compute, *, batch_ratio):
    """Return C_min = C / (1 + B / B_crit): the FLOP if trained far below the critical batch size.

    Parameters
    ----------
    compute : float or array
        Training FLOP as spent, > 0.
    batch_ratio : float or array
        Batch size over the critical one, B / B_crit, >= 0. At 1, C_min is half of C.

    Raises
    ------
    InputError
        When the ratio is negative.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361, eq. 5.5.
    """
    if not np.all(np.asarray(batch_ratio) >= 0):
        raise InputError(f"batch_ratio: B / B_crit must be at least 0, found {batch_ratio!r}.")
    return compute / (1 + batch_ratio)


def kaplan_parameters(compute, *, batch_ratio=1.0):
    """Return Kaplan's compute-optimal body parameters, 1.3e9 (C_min / PF-day)^0.73.

    Parameters
    ----------
    compute : float or array
        Training budget in FLOP, > 0, counted as "kaplan".
    batch_ratio : float
        As in `minimum_compute`; Hoffmann et al. (2022), appendix D.4, take C_min = C / 2, which
        gives their 4.68e9 at 1e21 FLOP.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361, section 6.1.
    """
    return 1.3e9 * (minimum_compute(compute, batch_ratio=batch_ratio) / PF_DAY) ** 0.73


def _context(shape, flops):
    if shape.context_length is None:
        msg = f"flops {flops!r} counts attention: the shape's context_length is missing."
        raise CountingError(msg)
    return shape.context_length
