"""The command `cache`: what is kept of earlier fits, and clearing it."""

import time
from typing import Annotated

import typer

from scalebayes.console import print_json
from scalebayes.options import Json


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every cached fit.")] = False,
    as_json: Json = False,
):
    """Show where earlier fits are kept, how many and how large; or clear them.

    The folder is $SCALEBAYES_CACHE, else the user's cache folder; it keeps at most
    $SCALEBAYES_CACHE_GB gigabytes (5 unless set), dropping what was used longest ago. A cached fit
    is found by its data, hypothesis, settings, seed and versions, so that none is ever stale.
    """
    from scalebayes.storage import cache_entries, cache_folder, cache_limit, clear_cache

    removed, freed = clear_cache() if clear else (0, 0)
    entries, limit = cache_entries(), cache_limit()
    size = sum(one for _, one, _ in entries)
    if as_json:
        values = {"fits": len(entries), "bytes": size, "limit": limit}
        values |= {"removed": removed, "freed": freed}
        units = {"fits": "fits", "removed": "fits"}
        rows = [
            {"name": name, "unit": units.get(name, "bytes"), "value": value}
            for name, value in values.items()
        ]
        print_json(rows, converged=True, folder=str(cache_folder()))
        return
    if clear:
        typer.echo(f"removed {removed} fits, {_size(freed)}")
    typer.echo(f"{cache_folder()}: {len(entries)} fits, {_size(size)} of at most {_size(limit)}")
    if entries:
        oldest, newest = (
            time.strftime("%Y-%m-%d %H:%M", time.localtime(used))
            for used in (entries[0][2], entries[-1][2])
        )
        typer.echo(f"last used between {oldest} and {newest}")


def _size(n_bytes):
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
