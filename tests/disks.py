"""Faults of the machine, made to happen for real: full disks, folders that cannot be written."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def full_disk(n_bytes):
    """Let no file of this process grow beyond so many bytes: writes then fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def read_only_folder(folder):
    """A folder in which nothing can be written, for root either."""
    if os.geteuid() == 0:
        return Path("/sys/scalebayes")  # the kernel's own
    folder.mkdir(mode=0o500)
    return folder


def start(code, *arguments, folder, cache=None):
    """Start Python code in a folder, with the package of this checkout."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment |= {"SCALEBAYES_CACHE": str(cache or folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


COMMAND = "import sys\nfrom scalebayes.cli import main\nmain(sys.argv[1:])\n"
"""The command line, for `start`."""


def ended(process, *, within=300):
    """Wait for a process: its exit code, stdout and stderr."""
    out, err = process.communicate(timeout=within)
    return process.returncode, out, err
