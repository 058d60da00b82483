"""nutpie, without what its import brings along and only other uses of it need.

nutpie imports ArviZ, and that its plots and Matplotlib: a sixth of what a first fit costs. The
nutpie of this module has ArviZ imported when something of it is first asked for.
"""

import sys
from importlib import import_module
from types import ModuleType


class Later(ModuleType):
    """Stands for a module, and imports it when it is first asked for something.

    Parameters
    ----------
    name : str
        Of the module.
    """

    def __getattr__(self, name):
        """Return what the module has by this name."""
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
    sys.modules[without] = Later(without)
    try:
        return import_module(name)
    finally:
        del sys.modules[without]


nutpie = imported("nutpie", without="arviz")
CompiledPyMCModel = nutpie.compile_pymc.CompiledPyMCModel
