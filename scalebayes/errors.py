"""Errors and warnings a caller may want to catch; the commands turn each into an exit code."""


class InputError(ValueError):
    """The user's input cannot be used as it stands (exit code 2)."""


class StudyError(InputError):
    """A run table is wrong, incomplete, or asked for something it does not hold."""


class HypothesisError(InputError):
    """A hypothesis file is unknown, malformed, or has an improper prior."""


class CountingError(InputError):
    """A parameter count or FLOP convention cannot be had from what is known."""


class ResultError(OSError):
    """A result cannot be read or saved (exit code 4)."""


class SamplingInterrupted(KeyboardInterrupt):
    """Sampling was stopped by the user (exit code 130).

    Parameters
    ----------
    chains : tuple of dict
        Per chain, what was drawn after tuning: unconstrained [draw, latent], log_density and
        diverging [draw].
    partial : DataTree or None
        Draws of an interrupted `fit`, as `partial_fits.partial_fit` returns them.
    """

    def __init__(self, *, chains=(), partial=None):
        super().__init__("sampling was interrupted")
        self.chains = chains
        self.partial = partial


class WorkerLost(RuntimeError):
    """A task has no result, for the processes that took it up died (exit code 3)."""


class CacheWarning(UserWarning):
    """Results cannot be kept in, or taken from, the cache; they are computed all the same."""


class NotConvergedWarning(UserWarning):
    """A posterior did not pass the convergence gate; its numbers are not trustworthy."""


class OutsidePopulationWarning(UserWarning):
    """A study lies far from the population of the others; pooling it may mislead."""
