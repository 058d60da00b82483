"""What fuzzing needs, whatever is fuzzed: changed bytes, and processes that may crash or hang.

The bytes of small valid inputs are changed at random by a seeded generator (no coverage is
followed): bits flipped, bytes replaced, pieces taken out, doubled or moved, words put in that
readers stumble over, ends cut off. Inputs are tried in a child process, so that a crash of compiled
code or an endless loop costs one input: the parent sees which one it was and goes on behind it.
"""

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field

CPU_SECONDS = 5.0
"""CPU time of one input beyond which it counts as a hang."""

CRASH, HANG = "crash", "hang"

_SHOWN = 20  # findings that are kept in full

WORDS = (
    *(b"nan", b"NaN", b"inf", b"-inf", b"1e999", b"-0", b"0", b"-1", b"1e-400", b"1_000", b"0x1F"),
    *(b"", b" ", b"\t", b",", b";", b"|", b"\n", b"\r", b"\r\n", b"\n\n", b'"', b"'", b"\\", b"\0"),
    *(b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xd9\xa1", b"\xc2\xa0", b"\\ud800"),
    *(b"{", b"}", b"[", b"]", b"[[", b":", b"null", b"true", b'{"a":', b"1" * 400, b"N", b"loss"),
    *(b"=", b"#", b"'''", b"1979-05-27", b"../", b"omega", b"dist", b"sigma", b"9" * 30, b"1,000"),
)
"""What is put into inputs besides bytes at random."""


def mutated(content, rng, others=()):
    """Return bytes with one to four changes.

    Parameters
    ----------
    content : bytes
    rng : random.Random
    others : sequence of bytes
        Further inputs, of which a piece may be put in.
    """
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice((1, 1, 2, 4, 16, 64)))
        kind = rng.randrange(8)
        if kind == 0 and start < len(changed):
            changed[start] ^= 1 << rng.randrange(8)
        elif kind == 1 and start < len(changed):
            changed[start] = rng.randrange(256)
        elif kind == 2:
            del changed[start:end]
        elif kind == 3:
            changed[start:start] = changed[start:end]
        elif kind == 4:
            changed[start:end] = rng.choice(WORDS)
        elif kind == 5:
            changed[start:start] = rng.choice(WORDS)
        elif kind == 6:
            piece = rng.choice(others) if others else bytes(changed)
            at = rng.randrange(len(piece) + 1)
            changed[start:end] = piece[at : at + rng.choice((1, 4, 16, 64))]
        elif rng.random() < 0.3:
            del changed[start:]
    return bytes(changed)


@dataclass(kw_only=True)
class Tally:
    """How inputs ended: outcome -> number, the first findings in full, and the CPU time."""

    outcomes: Counter = field(default_factory=Counter)
    findings: list = field(default_factory=list)
    cpu_seconds: float = 0.0

    @property
    def n(self):
        """Return how many inputs were tried."""
        return sum(self.outcomes.values())

    def record(self):
        """Return the tally as plain values, of which `of_record` makes it again."""
        return {**asdict(self), "outcomes": dict(self.outcomes)}

    @classmethod
    def of_record(cls, record):
        """Return the tally of plain values."""
        return cls(**{**record, "outcomes": Counter(record["outcomes"])})

    def add(self, index, outcome, detail=""):
        """Count the outcome of an input; keep it where it is a finding."""
        self.outcomes[outcome] += 1
        if detail and len(self.findings) < _SHOWN:
            self.findings.append({"index": index, "outcome": outcome, "detail": detail})


def tried(attempt, n, *, tally=None, progress=None, seconds=CPU_SECONDS, portion=2000):
    """Return the `Tally` of inputs 0 to n - 1.

    Parameters
    ----------
    attempt : callable
        Of an input's number: (outcome, detail), detail "" where all is well. What it raises is a
        crash.
    n : int
    tally : Tally, optional
        Of the first inputs, which are not tried again.
    progress : callable, optional
        Called with the `Tally` so far after every portion.
    seconds : float
        CPU time of one input.
    portion : int
        Inputs of one child.
    """
    tally = Tally() if tally is None else tally
    start = tally.n
    while start < n:
        end = min(n, start + portion)
        began = sum(os.times()[2:4])
        ends, status = _in_a_child(attempt, start, end, seconds)
        tally.cpu_seconds += sum(os.times()[2:4]) - began
        for index, (outcome, detail) in enumerate(ends, start):
            tally.add(index, outcome, detail)
        start += len(ends)
        if status or start < end:  # the child ended in the middle
            tally.add(start, *_death(status))
            start += 1
        if progress is not None:
            progress(tally)
    return tally


def _death(status):
    """Return outcome and detail of an input with which a child died."""
    if not os.WIFSIGNALED(status):
        return CRASH, f"exit {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    outcome = HANG if number in (signal.SIGPROF, signal.SIGALRM) else CRASH
    return outcome, signal.Signals(number).name


def _in_a_child(attempt, start, end, seconds):
    """Return the ends of inputs, as many as a child came to, and its status."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with idle threads about
        child = os.fork()
    if child == 0:
        os.close(read)
        code = 1
        try:
            _try_all(attempt, range(start, end), seconds, write)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        ends = [json.loads(line) for line in pipe]
    return ends, os.waitpid(child, 0)[1]


def _try_all(attempt, indices, seconds, write):
    """Try inputs and write a line about the end of each as it comes."""
    faulthandler.disable()  # a killed child is reported by its parent
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    with os.fdopen(write, "w", encoding="utf-8", buffering=1) as pipe:
        for index in indices:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            signal.setitimer(signal.ITIMER_REAL, 60 * seconds)  # for one that waits for ever
            try:
                found = attempt(index)
            except BaseException as error:  # a crash of any kind is what is looked for
                found = CRASH, _where(error)
            pipe.write(json.dumps(found) + "\n")


def _where(error):
    """Return an error and the last lines of ours that it went through."""
    frames = [
        one for one in traceback.extract_tb(error.__traceback__) if "scalebayes" in one.filename
    ]
    places = [f"{os.path.basename(one.filename)}:{one.lineno}" for one in frames[-2:]]
    return f"{type(error).__name__}: {str(error)[:200]} ({', '.join(places)})"


def told(label):
    """Return a function that prints how far a tally is on stderr, once in ten seconds."""
    last = [time.monotonic()]

    def progress(tally):
        if time.monotonic() - last[0] > 10:
            last[0] = time.monotonic()
            rate = 1e3 * tally.cpu_seconds / max(tally.n, 1)
            print(f"{label}: {tally.n} tried, {rate:.2f} CPU ms each", file=sys.stderr, flush=True)

    return progress
