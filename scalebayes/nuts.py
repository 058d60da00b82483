"""nutpie, without what its import brings along and only other uses of it need.

nutpie imports ArviZ, and that its plots and Matplotlib, which a fit does not use. The nutpie of
this module has ArviZ imported when something of it is first asked for.
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
