"""The HDF5 side of a log: texts, axes and finished rows, as docs/log-format.md has them."""
import os

import h5py
import numpy as np
import xarray as xr

from .errors import LogError

FORMAT_VERSION = 1
TEXTS = ('ivory_version', 'created_by', 'name', 'arm', 'scenario', 'algorithm', 'optimizer', 'device', 'data_checksum',
         'data_description', 'start_hash', 'partition_hash')
NUMBERS = ('format_version', 'seed', 'rounds', 'clients', 'classes', 'bins', 'parameters', 'has_posterior')
DAMAGED = 'the file is damaged or was not written by Ivory: copy it again, or run its scenario again'


def text(value):
    """A fixed-length text of the file as str."""
    return value.decode('utf-8') if isinstance(value, bytes) else str(value)


class LogFile:
    """An open log. Only rows of rounds up to `done`, read when it was opened, are given out."""

    def __init__(self, path):
        self.path = os.fspath(path)
        self._axes, self._scales = {}, {}
        if not os.path.exists(self.path):
            raise LogError('a log must exist', 'no such file', self.path,
                           'check the path (logs are in runs/ by default)')
        try:
            self._file = h5py.File(self.path, 'r')
        except OSError as error:
            raise LogError('a log must be a whole HDF5 file', f'"{error}"', self.path, DAMAGED) from error
        try:
            self.header = self._read_header()
            self.done = self._read_done()
        except BaseException:
            self._file.close()
            raise

    def close(self):
        self._file.close()

    def _fail(self, rule, got, where='', todo=DAMAGED):
        raise LogError(rule, got, f'{where} of {self.path}' if where else self.path, todo)

    def _read_header(self):
        try:
            attributes = dict(self._file.attrs)
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            self._fail('the attributes must be readable', f'"{error}"')
        version = attributes.get('format_version')
        if version is None:
            self._fail('a log must have the attribute format_version', 'none')
        if version != FORMAT_VERSION:
            self._fail(f'format_version must be {FORMAT_VERSION}', version,
                       todo='install the ivory_logs of the Ivory that wrote it')
        header = {}
        for name in TEXTS + NUMBERS:
            if name not in attributes:
                self._fail(f'a log must have the attribute {name}', 'none')
            try:
                header[name] = text(attributes[name]) if name in TEXTS else int(attributes[name])
            except (ValueError, TypeError) as error:
                kind = 'text' if name in TEXTS else 'a whole number'
                self._fail(f'the attribute {name} must be {kind}', f'"{error}"')
        more = {name: value for name, value in attributes.items() if name not in header}
        return header | {name: text(value) if isinstance(value, bytes) else value for name, value in more.items()}

    def _read_done(self):
        done = int(self._read('rounds_complete', ()))
        if not 0 <= done <= self.header['rounds']:
            self._fail(f'it must be in 0 .. {self.header["rounds"]} (the attribute rounds)', done, '/rounds_complete')
        return done

    def _item(self, name, kind):
        try:
            item = self._file[name]
        except (KeyError, OSError, RuntimeError) as error:
            self._fail(f'a log must have the {"group" if kind is h5py.Group else "dataset"} /{name}', f'"{error}"')
        if not isinstance(item, kind):
            self._fail(f'/{name} must be a {"group" if kind is h5py.Group else "dataset"}', type(item).__name__)
        return item

    def _read(self, name, where):
        try:
            values = self._item(name, h5py.Dataset)[where]
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, LogError):
                raise
            self._fail('its numbers must be readable', f'"{error}"', f'/{name}')
        return np.array([text(v) for v in values]) if getattr(values, 'dtype', np.dtype(float)).kind == 'S' else values

    def names(self, group):
        """The datasets of a group, with its scales."""
        return list(self._item(group, h5py.Group))

    def has(self, name):
        return name in self._file

    def attributes(self, group):
        return {name: text(value) if isinstance(value, bytes) else value
                for name, value in self._item(group, h5py.Group).attrs.items()}

    def axes(self, name):
        """Names of the axes of a dataset; none for a scalar and for a scale, which is its own axis."""
        if name not in self._axes:
            self._axes[name] = self._read_axes(name)
        return self._axes[name]

    def _read_axes(self, name):
        dataset = self._item(name, h5py.Dataset)
        if dataset.ndim == 0 or h5py.h5ds.is_scale(dataset.id):
            return ()
        group = name.rpartition('/')[0]
        axes = []
        for dimension, length in zip(dataset.dims, dataset.shape):
            if len(dimension) != 1:
                self._fail('every axis must have one dimension scale', len(dimension), f'/{name}')
            axis = dimension[0].name.rpartition('/')[2]
            scale = self._item(f'{group}/{axis}', h5py.Dataset)
            if scale.shape != (length,):
                self._fail(f'it must be as long as its axis {axis}, {scale.shape}', f'length {length}', f'/{name}')
            axes.append(axis)
        return tuple(axes)

    def scale(self, name):
        """The values of a dimension scale; of an axis of rounds, those of the finished ones."""
        if name not in self._scales:
            values = self._read(name, ...)
            if name.endswith('round'):
                if not (np.diff(values) > 0).all():
                    self._fail('rounds must increase', values[:8].tolist(), f'/{name}')
                values = values[values <= self.done]
            self._scales[name] = values
        return self._scales[name]

    def array(self, name, row=None):
        """A dataset without the rows of rounds to come; `row`: of its first axis only this one."""
        axes = self.axes(name)
        if row is not None:
            return self._read(name, row)
        if not axes or not axes[0].endswith('round'):
            return self._read(name, ...)
        return self._read(name, slice(len(self.scale(f'{name.rpartition("/")[0]}/{axes[0]}'))))

    def variable(self, name, row=None):
        """A dataset as xarray.Variable, with its units and meaning as attributes."""
        axes = self.axes(name)
        given = self._file[name].attrs
        attributes = {key: text(given[key]) for key in ('units', 'long_name') if key in given}
        return xr.Variable(axes[1:] if row is not None else axes, self.array(name, row), attributes)

    def dataset(self, group, names):
        """Datasets of a group with the coordinates of their axes as xarray.Dataset."""
        variables = {name: self.variable(f'{group}/{name}') for name in names}
        axes = dict.fromkeys(axis for variable in variables.values() for axis in variable.dims)
        return xr.Dataset(variables, {axis: self.scale(f'{group}/{axis}') for axis in axes})
