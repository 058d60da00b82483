"""A `DataTree` <-> a netCDF-4 file, in less time than xarray takes.

Xarray's way through h5netcdf takes a second for a fit of a hundred variables. Here the file is
written and walked by h5py, as far as it holds only what results of this package do: whole variables
of numbers, truth values and text, on named dimensions. Whatever else there may be, xarray writes
and reads it. The files follow the netCDF-4 format either way.
"""

import itertools
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

_REFERENCES = frozenset({"REFERENCE_LIST", "DIMENSION_LIST"})
"""Attributes that say by references what others say by numbers, and are slow to read."""

_HIDDEN = frozenset({"CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"})
_DECODED = frozenset({"coordinates", "scale_factor", "add_offset", "missing_value", "calendar"})
"""Attributes by which a variable stands for something else than its numbers."""

_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable."  # starts the NAME of such
_PLAIN = (str, int, float, np.number)  # kinds of attributes


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


def write_tree(tree, path):
    """Write a DataTree as a netCDF-4 file, over what is there.

    Parameters
    ----------
    tree : DataTree
    path : path

    References
    ----------
    NetCDF-4 in HDF5: https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html
    """
    nodes = [(node.path, node.to_dataset(inherit=False)) for node in tree.subtree]
    if not all(_is_usual(dataset) for _, dataset in nodes):
        tree.to_netcdf(path, engine="h5netcdf")
        return
    Path(path).write_bytes(_file_image(nodes))


def _file_image(nodes):
    """Return the bytes of a file of datasets; made in memory, for HDF5 crashes on a full disk."""
    numbers = itertools.count()
    options = {"driver": "core", "backing_store": False, "track_order": True}
    with h5py.File("in memory", "w", **options) as file:
        for place, dataset in nodes:
            group = file if place == "/" else file.create_group(place, track_order=True)
            _write_group(group, dataset, numbers)
        file.flush()
        return file.id.get_file_image()


def _is_usual(dataset):
    """Return whether nothing but what `_write_group` knows is in a dataset."""
    coordinates = set(dataset.coords)
    attributes = [dataset.attrs, *(variable.attrs for variable in dataset.variables.values())]
    return (
        coordinates <= set(dataset.dims)
        and all(x.dtype.kind in "iufbUO" and x.size for x in dataset.variables.values())
        and all(_is_text(x) for x in dataset.variables.values() if x.dtype.kind == "O")
        and not any(variable.encoding for variable in dataset.variables.values())
        and all(_is_plain(x) for one in attributes for x in one.values())
        and not any(_DECODED & one.keys() or "dtype" in one for one in attributes)
    )


def _is_plain(value):
    if isinstance(value, list):
        return len(value) > 1 and all(isinstance(one, str) for one in value)
    return isinstance(value, _PLAIN)


def _is_text(variable):
    return all(isinstance(one, str) for one in variable.values.ravel())


def _write_group(group, dataset, numbers):
    places = {}
    for dim, size in dataset.sizes.items():
        number = next(numbers)
        if dim in dataset.variables:
            item = _written(group, dim, dataset.variables[dim])
            item.make_scale(dim)
        else:
            item = group.create_dataset(dim, shape=(size,), dtype=">f4")
            item.make_scale(f"{_NO_VARIABLE.decode()}{size:10d}")
        item.attrs["_Netcdf4Dimid"] = np.int32(number)
        places[dim] = (number, item)
    for name, variable in dataset.variables.items():
        item = places[name][1] if name in places else _written(group, name, variable)
        of_variable = [places[dim] for dim in variable.dims]
        item.attrs["_Netcdf4Coordinates"] = np.array([n for n, _ in of_variable], dtype=np.int32)
        if name not in places:
            for position, (_, scale) in enumerate(of_variable):
                item.dims[position].attach_scale(scale)
    _write_attributes(group, dataset.attrs)


def _written(group, name, variable):
    values, kind = np.asarray(variable.values), variable.dtype.kind
    if kind in "UO":
        item = group.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype())
    else:
        item = group.create_dataset(name, data=values.astype("i1") if kind == "b" else values)
    if kind == "f":
        item.attrs["_FillValue"] = np.array([np.nan], dtype=values.dtype)
    if kind == "b":
        item.attrs["dtype"] = "bool"
    _write_attributes(item, variable.attrs)
    return item


def _write_attributes(item, attributes):
    for name, value in attributes.items():
        item.attrs[name] = value if isinstance(value, str | list) else np.atleast_1d(value)
