#!/usr/bin/env python3
"""docs/log-format.md says exactly what files hold: test_log_format.py IVORY SOURCE_DIR. Exit 77 (skipped) without h5py.

Runs small scenarios that show every condition of the page, and compares each file with the tables: every object with its shape,
type, unit, scales and condition, every attribute of the file and of its groups. A condition that no scenario here meets is met by
setting its key, so that new rows of the page need no new line in this test.
"""
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

try:
    import h5py
    import numpy
except ImportError:
    print('skipped: h5py is not installed, and the logs cannot be checked without it')
    sys.exit(77)

import log_page

SCENARIO = '''
name = "small"
seed = 4
rounds = 3
[data]
kind = "blobs"
classes = 3
features = 4
train = 120
test = 30
[partition]
kind = "dirichlet"
[model]
kind = "mlp"
hidden = [5]
[clients]
count = 4
batch = 16
[evaluation]
samples = 4
[log]
posterior_every = 1
[[compare]]
name = "point"
server.algorithm = "fedavg"
clients.optimizer = { name = "sgd", lr = 0.05 }
[[compare]]
name = "bayes"
server = { algorithm = "vb_admm", temperature = 0.1 }
clients.optimizer = { name = "ivon", lr = 0.05, hess_init = 0.1 }
[[compare]]
name = "full"
server = { algorithm = "vb_admm", posterior = "full", temperature = 0.1 }
clients.optimizer.name = "von"
'''
NUMBERS = '''
name = "numbers"
seed = 4
rounds = 2
[data]
kind = "linear"
clients = 3
features = 4
train = 30
test = 20
[partition]
kind = "natural"
[model]
kind = "linear"
loss = "gaussian"
[clients]
batch = 10
[evaluation]
samples = 4
sensitivity = 5
[clients.optimizer]
name = "ivon"
[server]
algorithm = "vb_admm"
'''
# name: (arm, --set ...)
RUNS = {
    'plain': ('point', ['clients.participation=0.5', 'evaluation.every=2', 'log.posterior_every=2']),
    'bayes': ('bayes', ['log.sites=every', 'evaluation.curve=true', 'evaluation.elbo_samples=2', 'evaluation.clients_every=2']),
    'part': ('bayes', ['log.layers=["0.bias"]', 'log.storage=float16', 'log.sites=last', 'log.previews=["average", "pvi"]']),
    'full': ('full', ['log.precision_matrix=true', 'log.sites=last', 'model.hidden=[]']),
    'probes': ('bayes', ['evaluation.sensitivity=7', 'evaluation.label_noise_probe=9', 'data.label_noise=0.2']),
    'laplace': ('point', ['evaluation.laplace=true', 'evaluation.ood={kind="blobs", features=4, seed=9}',
                          'evaluation.clients=none', 'log.sites=last', 'data.validation=0.2']),
}
SYMBOLS = {'R': 'rounds', 'K': 'clients', 'C': 'classes', 'M': 'bins', 'P': 'parameters'}
NUMPY_TYPES = {'integer': 'int64', 'unsigned integer': 'uint64', 'real': 'float64'}
HDF5_OWN = {'CLASS', 'NAME', 'DIMENSION_LIST', 'REFERENCE_LIST', '_FillValue'}

ivory, source = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
failures = []


def check(what, good):
    if not good:
        failures.append(what)
        print('WRONG', what, flush=True)


def run(*words, cwd):
    done = subprocess.run([ivory, *map(str, words)], capture_output=True, text=True, timeout=120, cwd=cwd)
    check(f'{" ".join(map(str, words))}: {done.stderr}', done.returncode == 0)
    return done.returncode == 0


def type_name(kind):
    """As the page calls it; for attributes and datasets alike."""
    if isinstance(kind, h5py.h5t.TypeStringID):
        fixed = not kind.is_variable_str() and kind.get_strpad() == h5py.h5t.STR_NULLPAD and \
            kind.get_cset() == h5py.h5t.CSET_UTF8
        return 'text' if fixed else 'text of another kind'
    return str(kind.dtype)


class File:
    """One file beside its part of the page."""

    def __init__(self, path, groups, label, flags=()):
        self.label, self.groups, self.flags = label, groups, flags
        self.seen, self.lengths = set(), {}
        with h5py.File(path) as self.file:
            self.scenario = tomllib.loads(self.file.attrs['scenario'].decode())
            self.regression = self.scenario['model'].get('loss') == 'gaussian'
            self.packed = label.startswith('packed')
            for symbol, name in SYMBOLS.items():
                if name in self.file.attrs:
                    self.lengths[symbol] = int(self.file.attrs[name])
            for group in groups.values():
                self._group(group)
            self._nothing_else()

    def check(self, what, good):
        check(f'{self.label}: {what}', good)

    def expected(self, group):
        if not group.condition.holds(self.scenario, self.flags):
            return []
        return [entry for entry in group.entries if entry.condition.holds(self.scenario, self.flags)]

    def _group(self, group):
        entries, lengths = self.expected(group), dict(self.lengths)
        if not entries:
            self.check(f'{group.path} is there without its condition', group.path not in self.file)
            return
        if group.path not in self.file:
            return self.check(f'{group.path} is missing', False)
        item = self.file[group.path]
        attributes = {entry.name: entry for entry in entries if entry.kind == 'attribute'}
        self.check(f'{group.path}: attributes {set(item.attrs)} instead of {set(attributes)}', set(item.attrs) == set(attributes))
        for name, entry in attributes.items():
            if name in item.attrs:
                self._attribute(item, name, entry)
        # Lengths of scales come first: shapes are made of them.
        order = sorted((entry for entry in entries if entry.kind != 'attribute'), key=lambda entry: entry.kind == 'dataset')
        symbols = {}
        for entry in order:
            self._dataset(item, entry, lengths, symbols)

    def _attribute(self, item, name, entry):
        attribute = h5py.h5a.open(item.id, name.encode())
        expected = tuple(NUMPY_TYPES.get(kind, kind) for kind in entry.types)
        self.check(f'{item.name}@{name} is {type_name(attribute.get_type())}, not {expected}',
                   type_name(attribute.get_type()) in expected and attribute.shape == ())
        self.seen.add((item.name, 'attribute', name))

    def _dataset(self, item, entry, lengths, symbols):
        path = f'{item.name.rstrip("/")}/{entry.name}'
        if entry.name not in item or not isinstance(item[entry.name], h5py.Dataset):
            return self.check(f'{path} is missing', False)
        data = item[entry.name]
        self.seen.add((item.name, entry.kind, entry.name))
        for symbol, length in zip(entry.shape, data.shape):
            lengths.setdefault(symbol, int(symbol) if symbol.isdigit() else length)
        expected = tuple(lengths.get(symbol) for symbol in entry.shape)
        self.check(f'{path} has the shape {data.shape}, not {entry.shape} = {expected}', data.shape == expected)
        self.check(f'{path} is {type_name(data.id.get_type())}, not {entry.types}', type_name(data.id.get_type()) in entry.types)
        unit = entry.regression_unit if self.regression and entry.regression_unit else entry.unit
        said = data.attrs['units'].decode()
        self.check(f'{path} has the unit {said!r}, not {unit!r}', said == unit)
        self.check(f'{path} has a long name', len(data.attrs['long_name']) > 0)
        self.check(f'{path} has attributes that the page lacks', set(data.attrs) - HDF5_OWN == {'units', 'long_name'})
        self.check(f'{path} is contiguous', self.packed or data.chunks is None)
        self.check(f'{path}: scale or not', bool(h5py.h5ds.is_scale(data.id)) == (entry.kind == 'scale'))
        if entry.kind == 'scale':
            symbols[data.name] = entry.shape[0]
            return self._scale(path, item, data, entry, lengths)
        for symbol, axis in zip(entry.shape, data.dims):
            names = [scale.name for scale in axis.values()]
            self.check(f'{path}: the axis {symbol} has the scale {names}',
                       len(names) == 1 and symbols.get(names[0]) == symbol)

    def _scale(self, path, item, data, entry, lengths):
        length = len(data)
        if found := re.search(r'(\d)\.\.(\w+?)(-1)?(?:,|$)', entry.values):
            first, last = int(found[1]), lengths[found[2]] - (1 if found[3] else 0)
            self.check(f'{path} is not {found[0]}', numpy.array_equal(data[:], numpy.arange(first, last + 1)))
        if found := re.search(r'(\w) being the sum of `(\w+)`', entry.values):
            self.check(f'{path}: {found[0]}', length == item[found[2]][:].sum())
        if found := re.search(r'(\w) being `\[([\w.]+)\] (\w+)`', entry.values):
            self.check(f'{path}: {found[0]}', length == log_page.value_of(self.scenario, found[2], found[3]))
        if 'text' in entry.types and log_page.CODE.findall(entry.values):
            self.check(f'{path}: {entry.values}', [text.decode() for text in data[:]] == log_page.CODE.findall(entry.values))

    def _nothing_else(self):
        found = []
        self.file.visit(found.append)
        for path in found:
            path = '/' + path
            if isinstance(self.file[path], h5py.Group):
                self.check(f'{path} is not in the page', path in self.groups)
                continue
            parent, _, name = path.rpartition('/')
            known = any(entry.name == name and entry.kind != 'attribute' for group in self.groups.values()
                        if group.path == (parent or '/') for entry in self.expected(group))
            self.check(f'{path} is not in the page, or its condition does not hold', known)


def automatic_runs(page, scenarios):
    """{label: --set ...} for conditions of the page that none of the scenarios meets."""
    more, base = {}, scenarios[0]
    for group in page.log.values():
        for condition in [group.condition] + [entry.condition for entry in group.entries]:
            if condition.keys and not any(condition.holds(scenario, ()) for scenario in scenarios):
                values = []
                for table, key, wanted in condition.keys:
                    default = log_page.value_of(base, table, key)
                    value = wanted if wanted is not None else 'true' if isinstance(default, bool) else 2
                    values.append(f'{table}.{key}={value}')
                more[' '.join(values)] = values
    return more


def make_logs(folder, page):
    (folder / 'small.toml').write_text(SCENARIO)
    (folder / 'numbers.toml').write_text(NUMBERS)
    logs = {}
    for label, (arm, keys) in RUNS.items():
        logs[label] = folder / f'{label}-{arm}-seed4.h5'
        run('run', 'small.toml', '--quiet', '--only', arm, '--out', '.', '--set', f'name={label}', *keys, cwd=folder)
    run('run', 'numbers.toml', '--quiet', '--out', '.', cwd=folder)
    logs['regression'] = folder / 'numbers-seed4.h5'
    logs['packed bayes'] = folder / 'packed.h5'
    run('pack', logs['bayes'], '-o', logs['packed bayes'], cwd=folder)
    files = [File(path, page.log, label) for label, path in logs.items() if path.exists()]
    for number, (label, keys) in enumerate(automatic_runs(page, [file.scenario for file in files]).items()):
        if run('run', 'small.toml', '--quiet', '--only', 'bayes', '--out', '.', '--set', f'name=auto{number}', *keys, cwd=folder):
            files.append(File(folder / f'auto{number}-bayes-seed4.h5', page.log, label))
    return files


def make_previews(folder, page):
    own = ['--quiet', '--only', 'bayes', '--out', '.', '--set', 'log.sites=every', 'evaluation.clients_every=1']
    for name, more in (('one', []), ('two', ['clients.weights=[2,1,1,1]']), ('none', ['evaluation.clients=none'])):
        run('run', 'small.toml', *own, f'name={name}', *more, cwd=folder)
    one, two, none = (f'{name}-bayes-seed4.h5' for name in ('one', 'two', 'none'))
    asked = {'preview': (one, []), 'preview --models': (one, ['--models']), 'preview without clients': (none, ['--models']),
             'preview --retrained': (one, ['--rule', 'pvi,diagonal', '--retrained', one, two])}
    files = []
    for number, (label, (log, flags)) in enumerate(asked.items()):
        out = folder / f'preview{number}.h5'
        if run('preview', log, *flags, '--out', out, cwd=folder):
            files.append(File(out, page.previews, label, flags))
    return files


def make_replays(folder, page):
    files = []
    for arm, more in (('point', []), ('bayes', []), ('full', ['model.hidden=[]'])):
        run('run', 'small.toml', '--quiet', '--only', arm, '--out', '.', '--set', 'name=again', *more, cwd=folder)
        out = folder / f'replay-{arm}.h5'
        if run('replay', f'again-{arm}-seed4.h5', '--round', 2, '--client', 1, '--out', out, cwd=folder):
            files.append(File(out, page.replays, f'replay of {arm}'))
    return files


def check_seen(what, groups, files):
    """Every object of the page is in at least one file."""
    seen = set().union(*(file.seen for file in files))
    entries = [(group.path, entry.kind, entry.name) for group in groups.values() for entry in group.entries]
    for entry in entries:
        check(f'{what}: no file shows {entry}', entry in seen)
    check(f'{what}: the page has many objects', len(entries) > 20)
    print(f'{what}: {len(entries)} objects of the page, in {len(files)} files: {", ".join(file.label for file in files)}')


def main():
    page = log_page.read_page(source / 'docs/log-format.md')
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_seen('logs', page.log, make_logs(folder, page))
        check_seen('previews', page.previews, make_previews(folder, page))
        check_seen('replays', page.replays, make_replays(folder, page))
    print('all good' if not failures else f'{len(failures)} failures')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
