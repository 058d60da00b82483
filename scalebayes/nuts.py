"""nutpie, without what its import brings along, and with interruptions that are told.

nutpie imports ArviZ, and that its plots and Matplotlib, which a fit does not use. The nutpie of
this module has ArviZ imported when something of it is first asked for.

nutpie's own `sample` returns what there is when it is interrupted, as if it had ended. Where the
last draws were made meanwhile nobody can tell, and whoever samples many times goes on.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


class Later(ModuleType):
    """Stands for a module, and imports it when it is first asked for something.

    Parameters
    ----------
    name : str
        Of the module, which is no package's.
    """

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = find_spec(name)

    def __getattr__(self, name):
        """Return what the module has by this name."""
        if sys.modules.get(self.__name__) is self:  # asked before its turn: make way
            sys.modules.pop(self.__name__, None)
        return getattr(import_module(self.__name__), name)


def imported(name, *, without):
    """Return a module whose import does not import another one; `Later` stands for that in it.

    Parameters
    ----------
    name, without : str
        Of the module, and of the one that its import statements are not to import. Where one of
        the two is imported already nothing is put off.
    """
    if {name, without} & set(sys.modules):
        return import_module(name)
    stand_in = sys.modules[without] = Later(without)
    try:
        return import_module(name)
    finally:
        if sys.modules.get(without) is stand_in:
            del sys.modules[without]


nutpie = imported("nutpie", without="arviz")
CompiledPyMCModel = nutpie.compile_pymc.CompiledPyMCModel


def sampled(model, **settings):
    """Return what nutpie samples, and whether that was interrupted.

    Parameters
    ----------
    model : nutpie's CompiledModel
    **settings
        Of `nutpie.sample`.

    Returns
    -------
    trace
        As from `nutpie.sample`. Of an interrupted sampling what there is, which can be all of it.
    interrupted : bool

    Raises
    ------
    KeyboardInterrupt
        When it was interrupted and nutpie has nothing to give.
    """
    try:
        running = nutpie.sample(model, blocking=False, progress_bar=False, **settings)
    except Exception as error:
        if "KeyboardInterrupt" in str(error):  # raised in Python code that nutpie's Rust called
            raise KeyboardInterrupt from error
        raise
    interrupted = False
    try:
        try:
            trace = running.wait()
        except KeyboardInterrupt:
            interrupted = True
            trace = running.abort()
    except BaseException as error:
        running.cancel()
        if interrupted:  # nutpie had given the trace away already, or was interrupted again
            raise KeyboardInterrupt from error
        raise
    return trace, interrupted
