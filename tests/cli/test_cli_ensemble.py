#!/usr/bin/env python3
"""Deep ensembles over seeds: test_cli_ensemble.py IVORY SOURCE_DIR. Skipped (77) like test_cli.py."""
import csv
import os
import pathlib
import re
import sys
import tempfile

import test_cli
from test_cli import SCENARIO, Ivory, check, exits, said

import h5py
import numpy

BLOCK = re.compile(r'^deep ensembles: .*\n(?P<table>(?:.+\n)+)', re.MULTILINE)


def ensembles(path):
    """{(arm, metric): value} of the CSV's lines of ensembles, and the numbers of their networks."""
    rows = [row for row in csv.DictReader(path.open()) if row['model'] == 'deep_ensemble']
    return {(row['arm'], row['metric']): float(row['mean']) for row in rows}, {row['arm']: int(row['seeds']) for row in rows}


def mean_models(path, arm, metric):
    """Mean over the seeds of what the final mean models have by themselves."""
    return next(float(row['mean']) for row in csv.DictReader(path.open())
                if (row['arm'], row['model'], row['metric'], row['summary'], row['minus']) == (arm, 'mean', metric, 'final', ''))


def own_data(path):
    draw = numpy.random.default_rng(5)
    with h5py.File(path, 'w') as data:
        for group, n in (('train', 200), ('test', 80)):
            x = draw.normal(size=(n, 4))
            data[f'{group}/x'] = x.astype('float32')
            data[f'{group}/y'] = numpy.argmax(x[:, :3] + draw.normal(size=(n, 3)), axis=1).astype('int32')


def by_hand(logs, data):
    """Metrics of the averaged probabilities of linear models, with 15 bins for the ECE."""
    with h5py.File(data, 'r') as file:
        x, y = file['test/x'][:].astype(float), file['test/y'][:]
    total = 0
    for path in logs:
        with h5py.File(path, 'r') as log:
            m = log['posterior/mean'][-1].astype(float)
        logits = x @ m[:12].reshape(3, 4).T + m[12:]
        p = numpy.exp(logits - logits.max(axis=1, keepdims=True))
        total = total + p / p.sum(axis=1, keepdims=True)
    p = total / len(logs)
    right, confidence = p.argmax(axis=1) == y, p.max(axis=1)
    bins = numpy.ceil(confidence * 15)
    ece = sum(abs((right[bins == b] - confidence[bins == b]).sum()) for b in set(bins)) / len(y)
    return {'accuracy': right.mean(), 'nll': -numpy.log(p[numpy.arange(len(y)), y]).mean(), 'ece': ece,
            'brier': ((p - numpy.eye(3)[y]) ** 2).sum(axis=1).mean()}


def test_classification(ivory, file):
    print('-- deep ensembles of classifiers')
    own_data(ivory.folder / 'mine.h5')
    data = 'data={kind="hdf5", file="mine.h5", train_group="train", test_group="test"}'
    settings = (file, '--seeds', 3, '--out', 'runs', '--set', data, 'model.hidden=[]')
    plain = ivory('compare', *settings)
    check('there is none unless asked for', plain.returncode == 0 and 'ensemble' not in plain.stdout, said(plain))
    logs = {arm: [ivory.folder / f'runs/small-{arm}-seed{seed}.h5' for seed in (4, 5, 6)] for arm in ('average', 'bayes')}
    done = ivory('compare', *settings, '--ensemble', '--csv', 'a.csv')
    exits('compare --ensemble', done, 0, 'deep ensembles', 'networks')
    table = BLOCK.search(done.stdout)
    lines = table['table'].splitlines() if table else []
    check('a row per arm with the number of networks', [line.split()[:2] for line in lines[1:]] ==
          [['average', '3'], ['bayes', '3']], done.stdout)
    found, networks = ensembles(ivory.folder / 'a.csv')
    for arm, paths in logs.items():
        expected = by_hand(paths, ivory.folder / 'mine.h5')
        check(f'{arm}: the numbers are those of the averaged probabilities', networks[arm] == 3 and
              all(abs(found[arm, name] - value) < 1e-5 for name, value in expected.items()), (found, expected))
        for metric in ('nll', 'brier'):
            check(f'{arm}: {metric} is below the mean of its members\' (Jensen)',
                  found[arm, metric] < mean_models(ivory.folder / 'a.csv', arm, metric))
    everything = [log for paths in logs.values() for log in paths]
    again = ivory('compare', '--from', *everything, '--ensemble', '--csv', 'b.csv')
    exits('compare --from --ensemble', again, 0)
    check('the same numbers from logs', ensembles(ivory.folder / 'b.csv') == (found, networks), again.stdout)
    one = ivory('compare', '--from', logs['bayes'][0], '--ensemble', '--csv', 'one.csv')
    alone, networks = ensembles(ivory.folder / 'one.csv')
    check('an ensemble of one is its network', one.returncode == 0 and networks == {'bayes': 1} and
          all(abs(alone['bayes', m] - mean_models(ivory.folder / 'one.csv', 'bayes', m)) < 1e-6
              for m in ('accuracy', 'nll', 'ece', 'brier')), said(one))
    local = ivory('compare', file, '--seeds', 3, '--out', 'local', '--ensemble', '--only', 'average', '--set', data,
                  'server={algorithm="local"}')
    row = re.search(r'^average +- +- +- +- +-$', local.stdout, re.MULTILINE)
    check('clients without a common model have no ensemble', local.returncode == 0 and row is not None, said(local))

    own = ivory.folder / 'mine.h5'
    with h5py.File(own, 'r+') as changed:
        changed['test/y'][0] = (changed['test/y'][0] + 1) % 3
    exits('other examples than those of the log', ivory('compare', '--from', *everything, '--ensemble'), 2, 'checksum',
          'run again')
    os.remove(own)
    exits('no examples', ivory('compare', '--from', *everything, '--ensemble'), 2, 'mine.h5')
    exits('data that each seed draws anew', ivory('compare', file, '--seeds', 2, '--out', 'drawn', '--ensemble'), 2,
          'same test examples', 'data.seed')
    drawn = ivory('compare', file, '--seeds', 2, '--out', 'fixed', '--ensemble', '--set', 'data.seed=3')
    exits('data of a seed of their own', drawn, 0, 'deep ensembles')
    exits('--ensemble with --json', ivory('compare', file, '--ensemble', '--json'), 2, '--ensemble', '--json')
    exits('--ensemble with --shard', ivory('compare', file, '--ensemble', '--shard', '1/2'), 2, '--ensemble', '--shard')


def test_regression(ivory, source):
    print('-- deep ensembles of regressions')
    done = ivory('compare', source / 'scenarios/regression.toml', '--seeds', 3, '--set', 'data.seed=2', 'rounds=5',
                 '--only', 'fedavg', '--ensemble', '--csv', 'r.csv')
    exits('compare --ensemble of a regression', done, 0, 'deep ensembles', 'RMSE')
    found, _ = ensembles(ivory.folder / 'r.csv')
    check('it has RMSE and NLL alone', {metric for _, metric in found} == {'rmse', 'nll'}, found)
    for metric in ('rmse', 'nll'):
        check(f'{metric} is below the mean of its members\' (Jensen)',
              found['fedavg', metric] < mean_models(ivory.folder / 'r.csv', 'fedavg', metric), found)


def main(binary, source):
    with tempfile.TemporaryDirectory() as folder:
        ivory = Ivory(str(pathlib.Path(binary).resolve()), pathlib.Path(folder))
        file = pathlib.Path(folder) / 'small.toml'
        file.write_text(SCENARIO)
        test_classification(ivory, file)
        test_regression(ivory, pathlib.Path(source).resolve())
    print(f'{test_cli.failures} wrong' if test_cli.failures else 'all good')
    return 1 if test_cli.failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2]))
