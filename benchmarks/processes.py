"""What a new process costs: CPU seconds of it and its children, and its peak memory."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment(folder):
    """Return the environment of a process whose caches all lie in one folder.

    PyTensor keeps what Numba compiled for it in `base_compiledir`/numba; Numba's own cache has a
    folder besides. The scalebayes of this checkout is the one imported.
    """
    folder = Path(folder).absolute()
    flags = [os.environ.get("PYTENSOR_FLAGS", ""), f"base_compiledir={folder / 'pytensor'}"]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTENSOR_FLAGS": ",".join(flag for flag in flags if flag),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "SCALEBAYES_CACHE": str(folder / "fits"),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def measured(file, program, arguments, folder):
    """Return what a program of a file costs in a new process, and what it says.

    Parameters
    ----------
    file : path
        Script that prints, as its last line, the JSON of what `program` returns (`run`).
    program : str
    arguments : dict
    folder : path
        Of all caches.

    Returns
    -------
    dict
        cpu (seconds, user and system, with children), memory (peak MiB), and the program's own.
    """
    command = [sys.executable, "-W", "ignore", str(file), program, json.dumps(arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=environment(folder), stdout=out, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if status:
            sys.exit(f"{program} {arguments} failed:\n{errors.read()}")
        said = json.loads(out.read().splitlines()[-1])
    kilobytes = used.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return {"cpu": used.ru_utime + used.ru_stime, "memory": kilobytes / 1024, **said}


def run(programs):
    """Run the program that the command line names, and print what it returns as JSON."""
    _, name, arguments = sys.argv
    print(json.dumps(programs[name](**json.loads(arguments))))


def median(measurements, name):
    """Return the median of one figure over measurements."""
    return statistics.median(one[name] for one in measurements)
