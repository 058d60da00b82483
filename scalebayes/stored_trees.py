"""A netCDF-4 file as this package writes it -> a `DataTree`, in a tenth of xarray's time.

Xarray's way through h5netcdf takes a second for a fit of a hundred variables. Here the file is
walked by h5py, as far as it holds only what this package writes: whole variables of numbers, truth
values and text, on named dimensions. Whatever else a file may hold, xarray reads it.
"""

import h5py
import numpy as np
import xarray as xr

_REFERENCES = frozenset({"REFERENCE_LIST", "DIMENSION_LIST"})
"""Attributes that say by references what others say by numbers, and are slow to read."""

_HIDDEN = frozenset({"CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"})
_DECODED = frozenset({"coordinates", "scale_factor", "add_offset", "missing_value", "calendar"})
"""Attributes by which a variable stands for something else than its numbers."""

_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"  # starts the NAME of such


class _Unusual(Exception):
    """Something that this package does not write."""


def read_tree(path):
    """Return the DataTree that a netCDF-4 file holds, in memory.

    Parameters
    ----------
    path : path

    Returns
    -------
    DataTree
        As `xarray.load_datatree` returns it, without the encodings.
    """
    groups, dimensions = {}, {}
    try:
        with h5py.File(path, "r") as file:
            _collect(file, "/", groups, dimensions)
            return xr.DataTree.from_dict(
                {place: _dataset(*group, dimensions) for place, group in groups.items()}
            )
    except _Unusual:
        return xr.load_datatree(path, engine="h5netcdf")


def _collect(group, path, groups, dimensions):
    """Put each group's variables and attributes, and each dimension's name by number, by."""
    variables = {}
    groups[path] = (variables, _raw_attributes(group))
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            _collect(item, f"{path.rstrip('/')}/{name}", groups, dimensions)
            continue
        if not isinstance(item, h5py.Dataset):
            raise _Unusual
        raw = _raw_attributes(item)
        if raw.get("CLASS") == b"DIMENSION_SCALE":
            dimensions[_number(raw)] = name
        if not bytes(raw.get("NAME", b"")).startswith(_NO_VARIABLE):
            variables[name] = (item, raw)


def _raw_attributes(item):
    return {name: item.attrs[name] for name in item.attrs if name not in _REFERENCES}


def _number(raw):
    if "_Netcdf4Dimid" not in raw:
        raise _Unusual
    return int(raw["_Netcdf4Dimid"])


def _dataset(variables, raw, dimensions):
    found = {name: _variable(*one, dimensions) for name, one in variables.items()}
    return xr.Dataset(found, attrs=_attributes(raw))


def _variable(item, raw, dimensions):
    attributes = _attributes(raw)
    if attributes.keys() & _DECODED or "since" in str(attributes.get("units", "")):
        raise _Unusual
    numbers = np.atleast_1d(raw.get("_Netcdf4Coordinates", np.zeros(0, dtype=int)))
    if len(numbers) != item.ndim:
        raise _Unusual
    values = _values(item, attributes)
    return xr.Variable([dimensions[int(number)] for number in numbers], values, attributes)


def _values(item, attributes):
    """Return a variable's values; what only says how they are stored leaves its attributes."""
    kind, fill = item.dtype.kind, attributes.pop("_FillValue", None)
    if fill is not None and not (kind == "f" and np.isnan(fill)):
        raise _Unusual
    if h5py.check_string_dtype(item.dtype) is not None:
        return np.asarray(item.asstr()[()], dtype=str)
    stored = attributes.pop("dtype", None)
    if kind not in "iuf" or stored not in (None, "bool"):
        raise _Unusual
    return item[()] if stored is None else item[()].astype(bool)


def _attributes(raw):
    """Return attributes as netCDF libraries do: alone where a list has one entry."""
    found = {}
    for name, value in raw.items():
        if name in _HIDDEN:
            continue
        if isinstance(value, h5py.Empty):
            raise _Unusual
        if isinstance(value, np.ndarray):
            value = value.tolist() if value.dtype.kind == "O" else value
            value = value[0] if len(value) == 1 else value
        found[name] = value
    return found
