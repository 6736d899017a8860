"""One run, from its log."""
import dataclasses
import functools
import os
import tomllib

import numpy as np
import pandas as pd

from .errors import LogError
from .log_file import DAMAGED, LogFile

SITES = ('mean', 'precision', 'site_mean', 'site_precision')


@dataclasses.dataclass(frozen=True)
class Posterior:
    """The server after `round`: name -> array in PyTorch's layout. Without a posterior `precision` is None."""
    round: int
    mean: dict
    precision: dict | None


@dataclasses.dataclass(frozen=True)
class Partition:
    """Who has what. Rows count in the training set after validation split and public pool were taken out."""
    class_counts: pd.DataFrame  # training examples, client x class
    hash: str
    repeated: int  # assignments of an example beyond its first
    unused: int  # examples that no client holds
    flipped: pd.Series  # row -> class before the label noise; empty without noise
    _rows: dict  # kind -> (offset, count, index)

    def train_rows(self, client):
        """Rows of the training set that a client trains on."""
        return self._rows_of('train', client)

    def holdout_rows(self, client):
        """Rows of the training set that a client is only evaluated on."""
        return self._rows_of('holdout', client)

    def _rows_of(self, kind, client):
        offset, count, index = self._rows[kind]
        if not 0 <= client < len(count):
            raise LogError(f'client must be in 0 .. {len(count) - 1}', client, 'Partition', 'clients count from 0')
        return index[offset[client]:offset[client] + count[client]]


class Run:
    """A log as pandas and xarray objects, as it was when it was opened; open it again to see later rounds.

    Only rows of finished rounds are given. The file stays open until close() or the end of `with`.
    """

    def __init__(self, path):
        self._log = LogFile(path)
        self.path = self._log.path
        self.header = self._log.header  # every attribute of the file
        self.rounds_complete = self._log.done

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._log.close()

    def __repr__(self):
        return (f'<Run {self.title} seed {self.seed}: {self.rounds_complete} of {self.header["rounds"]} rounds, '
                f'{self.header["algorithm"]}, {self.path}>')

    @property
    def name(self):
        return self.header['name']

    @property
    def arm(self):
        return self.header['arm']

    @property
    def title(self):
        """The arm, or the scenario's name where it has no arms."""
        return self.arm or self.name

    @property
    def seed(self):
        return self.header['seed']

    @property
    def finished(self):
        return self.rounds_complete == self.header['rounds']

    @property
    def has_posterior(self):
        return bool(self.header['has_posterior'])

    @functools.cached_property
    def scenario(self):
        """The resolved scenario, every key with its value."""
        try:
            return tomllib.loads(self.header['scenario'])
        except tomllib.TOMLDecodeError as error:
            raise LogError('the attribute scenario must be TOML', f'"{error}"', self.path, DAMAGED) from error

    @functools.cached_property
    def rounds(self):
        """The numbers of each finished round: one row per round. `.attrs` has `units` and `long_name` by column."""
        names = [name for name in self._log.names('rounds') if self._log.axes(f'rounds/{name}') == ('round',)]
        data = self._log.dataset('rounds', names)
        frame = pd.DataFrame({name: data[name].values for name in names},
                             index=pd.Index(self._log.scale('rounds/round'), name='round'))
        frame.attrs = {key: {name: data[name].attrs.get(key, '') for name in names} for key in ('units', 'long_name')}
        return frame

    @functools.cached_property
    def round_arrays(self):
        """The finished rounds with everything that has more axes (class_*, confusion, ece_bins), as xarray.Dataset."""
        names = [name for name in self._log.names('rounds') if self._log.axes(f'rounds/{name}')]
        return self._log.dataset('rounds', names)

    @functools.cached_property
    def clients(self):
        """Examples, participation, losses and metrics by client, as xarray.Dataset; sites are in sites()."""
        names = [name for name in self._log.names('clients') if name not in SITES and self._log.axes(f'clients/{name}')]
        return self._log.dataset('clients', names)

    @functools.cached_property
    def curve(self):
        """The posterior average by its number of samples; None without `[evaluation] curve`."""
        if not self._log.has('curve'):
            return None
        names = [name for name in self._log.names('curve') if name != 'samples']
        return self._log.dataset('curve', names).to_dataframe()

    @functools.cached_property
    def previews(self):
        """What the rules of `[log] previews` would have made of each recorded round's clients, [round, rule]; None without them."""
        if not self._log.has('previews'):
            return None
        return self._log.dataset('previews', [name for name in self._log.names('previews') if self._log.axes(f'previews/{name}')])

    @functools.cached_property
    def partition(self):
        read = self._log.array
        attributes = self._log.attributes('partition')
        counts = self._log.variable('partition/class_counts')
        rows = {kind: tuple(read(f'partition/{kind}_{part}') for part in ('offset', 'count', 'index'))
                for kind in ('train', 'holdout')}
        for kind, (offset, count, index) in rows.items():
            if (offset < 0).any() or (count < 0).any() or (offset + count > len(index)).any():
                raise LogError(f'{kind}_offset and {kind}_count must lie in {kind}_index', 'a client beyond its end',
                               f'/partition of {self.path}', DAMAGED)
        noise = self._log.has('partition/flipped_entry')
        flipped = pd.Series(read('partition/flipped_class') if noise else np.empty(0, np.int32), dtype=np.int32,
                            index=pd.Index(read('partition/flipped_index') if noise else [], np.int32, name='row'),
                            name='class_before')
        return Partition(pd.DataFrame(counts.values, pd.Index(self._log.scale('partition/client'), name='client'),
                                      pd.Index(self._log.scale('partition/class'), name='class')),
                         str(attributes.get('hash', '')), int(attributes.get('repeated', 0)),
                         int(attributes.get('unused', 0)), flipped, rows)

    @functools.cached_property
    def slices(self):
        """The parts of the flat parameter vector: name -> offset, size, shape."""
        read = self._log.array
        frame = pd.DataFrame({'offset': read('parameters/offset'), 'size': read('parameters/size'),
                              'shape': [tuple(int(n) for n in row if n > 0) for row in read('parameters/shape')]},
                             index=pd.Index(read('parameters/name'), name='name'))
        ends = np.cumsum(frame['size'])
        if (frame['offset'] != ends - frame['size']).any() or frame['size'].sum() != self.header['parameters'] or \
                any(np.prod(shape, dtype=np.int64) != size for shape, size in zip(frame['shape'], frame['size'])):
            raise LogError(f'the slices must fill {self.header["parameters"]} parameters without gaps',
                           frame.to_dict('index'), f'/parameters of {self.path}', DAMAGED)
        return frame

    @functools.cached_property
    def recorded(self):
        """The slices that the log's vectors have, as `slices` but with offsets in them; all without `[log] layers`."""
        index = self._log.scale('posterior/parameter')
        if len(index) == self.header['parameters']:
            return self.slices
        first = np.searchsorted(index, self.slices['offset'])
        there = (first < len(index)) & (index[np.minimum(first, len(index) - 1)] == self.slices['offset'])
        frame = self.slices[there].assign(offset=first[there])
        if frame['size'].sum() != len(index):
            raise LogError('the recorded parameters must be whole slices', f'{len(index)} of them',
                           f'/posterior/parameter of {self.path}', DAMAGED)
        return frame

    def by_name(self, flat):
        """Splits [..., recorded parameters] into name -> [..., shape of the tensor], views where numpy can."""
        flat = np.asarray(flat)
        return {name: flat[..., s['offset']:s['offset'] + s['size']].reshape(*flat.shape[:-1], *s['shape'])
                for name, s in self.recorded.iterrows()}

    def posterior(self, round=-1):
        """The server's Gaussian after a recorded round; -1 is the last of them (`[log] posterior_every`).

        float32, whatever the log's type (`[log] storage`); of the recorded layers (`[log] layers`) where these are not all.
        """
        row, number = self._row('posterior/round', round, '[log] posterior_every says which are recorded')
        vector = lambda name: self.by_name(self._log.array(f'posterior/{name}', row).astype(np.float32, copy=False))
        return Posterior(number, vector('mean'), vector('precision') if self.has_posterior else None)

    def to_state_dict(self, round=-1, torch=False):
        """The server's mean for `load_state_dict`: numpy arrays, or tensors with `torch=True` where PyTorch is installed.

        Of a log of some layers it has these alone: `load_state_dict(..., strict=False)`.
        """
        mean = self.posterior(round).mean
        if not torch:
            return mean
        try:
            import torch as pytorch
        except ImportError as error:
            raise ImportError('to_state_dict(torch=True) needs PyTorch, which is not installed; '
                              'without torch=True it gives numpy arrays') from error
        return {name: pytorch.from_numpy(np.array(values)) for name, values in mean.items()}

    def sites(self, round=-1, names=SITES):
        """The clients' posteriors and sites after a recorded round, [client, parameter]; absent clients are NaN.

        `site_mean` is a natural mean (precision times mean); a site's precision may be negative.
        """
        if not self._log.has('clients/site_round'):
            raise LogError('sites must be recorded', '`sites = "none"`', self.path,
                           'run the scenario with `--set log.sites=last` or `every`')
        row, number = self._row('clients/site_round', round, '[log] sites = "every" records those of posterior_every')
        data = self._log.dataset('clients', [])
        data = data.assign_coords(client=self._log.scale('clients/client'),
                                  parameter=self._log.scale('clients/parameter'))
        data = data.assign({name: self._log.variable(f'clients/{name}', row) for name in names})
        return data.assign_attrs(round=number)

    @property
    def has_sites(self):
        """Has at least one round of sites been recorded?"""
        return self._log.has('clients/site_round') and len(self._log.scale('clients/site_round')) > 0

    def _row(self, scale, wanted, hint):
        recorded = self._log.scale(scale)
        if len(recorded) == 0:
            raise LogError(f'a round of /{scale} must be finished', f'{self.rounds_complete} finished rounds', self.path,
                           'open the log again later, or go on with the run')
        if -len(recorded) <= wanted < 0:
            row = len(recorded) + wanted
        elif wanted in recorded:
            row = int(np.flatnonzero(recorded == wanted)[0])
        else:
            shown = ', '.join(str(n) for n in recorded[:20]) + (' ...' if len(recorded) > 20 else '')
            raise LogError(f'round must be one of {shown}, or -1 for the last', wanted, f'/{scale} of {self.path}',
                           hint)
        return row, int(recorded[row])


def open_run(path):
    """Opens a log: of a finished run, of one that goes on, or of one that was killed. Raises LogError."""
    return path if isinstance(path, Run) else Run(os.fspath(path))
