#!/usr/bin/env python3
"""Sweeps, runs side by side, paired differences and failed runs: test_cli_sweep.py IVORY. Skipped (77) like test_cli.py."""
import csv
import json
import os
import pathlib
import re
import sys
import tempfile

import test_cli
from test_cli import ROUND_LINE, SCENARIO, Ivory, check, exits, hashes, root_of, said

import h5py


def same_bits(one, other):
    """Whether two folders hold the same logs with the same states."""
    names = sorted(os.listdir(one))
    return names == sorted(os.listdir(other)) and all(hashes(one / name) == hashes(other / name) for name in names)


def test_parallel(ivory, file):
    print('-- runs side by side')
    settings = (file, '--seeds', 2, '--set', 'rounds=2', '--threads', 2)
    one = ivory('compare', *settings, '--parallel', 1, '--out', 'one')
    two = ivory('compare', *settings, '--parallel', 2, '--out', 'two')
    exits('--parallel 2', two, 0)
    check('the same bits one by one and side by side', len(os.listdir(ivory.folder / 'one')) == 4 and
          same_bits(ivory.folder / 'one', ivory.folder / 'two'))
    check('one line per run, and none per round', not ROUND_LINE.search(two.stdout) and
          len(re.findall(r'^\[\d/4\] \S+ seed \d  2 rounds  accuracy ', two.stdout, re.MULTILINE)) == 4, two.stdout)

    def quality(text):  # the first block has no times
        return text[text.index('small: mean'):text.index('best over rounds')]

    check('and the same table', quality(one.stdout) == quality(two.stdout), two.stdout)
    rows = ivory('compare', *settings, '--parallel', 2, '--out', 'two', '--fresh', '--json')
    check('--json has whole lines', rows.returncode == 0 and
          sorted((r['arm'], r['seed'], r['round']) for r in map(json.loads, rows.stdout.splitlines())) ==
          [(a, s, r) for a in ('average', 'bayes') for s in (4, 5) for r in (1, 2)], said(rows))
    exits('more runs than threads', ivory('compare', *settings, '--parallel', 3), 2, '--parallel', '--threads')
    pooled = ivory('compare', *settings, '--set', 'clients.pool=true', '--only', 'average', '--out', 'pooled')
    check('where a round has one client, two threads serve two runs', pooled.returncode == 0 and
          not ROUND_LINE.search(pooled.stdout) and len(re.findall('  2 rounds  ', pooled.stdout)) == 2, said(pooled))


def test_baseline(ivory, file):
    print('-- differences and failed runs')
    done = ivory('compare', file, '--seeds', 2, '--set', 'rounds=2', '--out', 'base')
    exits('compare of two seeds', done, 0, 'difference to average', '95 % interval')
    logs = sorted((ivory.folder / 'base').glob('*.h5'))
    once, twice = ivory('compare', '--from', *logs), ivory('compare', '--from', *logs, logs[0], logs[0])
    check('a log given twice is warned of and counts once', 'only the first one counts' in twice.stdout and
          'warning' not in once.stdout and twice.stdout.endswith(once.stdout), said(twice))
    one = ivory('compare', file, '--seeds', 1, '--set', 'rounds=2', '--out', 'base')
    check('one seed has no differences', one.returncode == 0 and 'difference to' not in one.stdout, said(one))
    logs = sorted((ivory.folder / 'base').glob('*.h5'))
    other = ivory('compare', '--from', *logs, '--baseline', 'bayes', '--csv', 'base.csv')
    exits('--baseline', other, 0, 'difference to bayes')
    accuracy = {}
    for log in logs:
        with h5py.File(log, 'r') as open_log:
            accuracy[log.name] = float(open_log['rounds/accuracy'][1])
    differences = [accuracy[f'small-average-seed{s}.h5'] - accuracy[f'small-bayes-seed{s}.h5'] for s in (4, 5)]
    rows = list(csv.DictReader((ivory.folder / 'base.csv').open()))
    found = [row for row in rows if row['minus'] == 'bayes' and (row['arm'], row['model'], row['metric'], row['summary']) ==
             ('average', 'mean', 'accuracy', 'final')]
    check('--csv has the paired differences of the logs', len(found) == 1 and found[0]['seeds'] == '2' and
          abs(float(found[0]['mean']) - sum(differences) / 2) < 1e-12 and
          [float(pair.split(':')[1]) for pair in found[0]['by_seed'].split(';')] == differences, (found, differences))
    exits('a baseline that is no arm', ivory('compare', file, '--baseline', 'averge'), 2, '--baseline',
          'did you mean "average"')

    lost = ('compare', file, '--seeds', 2, '--out', 'lost', '--set', 'rounds=2', 'average:clients.optimizer.lr=1e38',
            'average:clients.epochs=20')
    first, again = ivory(*lost), ivory(*lost)
    check('a failed arm stands in the table with its reason, and the exit code is 1', first.returncode == 1 and
          "average: 2 of 2 runs failed; seed 4, 5: [run] some client's update must be usable" in first.stdout and
          re.search(r'^average .* 0/2$', first.stdout, re.MULTILINE) and 'bayes' in first.stdout, said(first))
    check('its logs, reused, have failed again', again.returncode == 1 and again.stdout.count('reused') == 4 and
          'average: 2 of 2 runs failed' in again.stdout, said(again))


def test_sweep(ivory, file):
    print('-- sweep')
    settings = (file, '--set', 'rounds=1', 'data.validation=0.2', '--seeds', 2, '--threads', 2)
    grid = ('--unequal', '--grid', 'clients.batch=8,16', 'average:clients.optimizer.lr=0.05,1e30')
    done = ivory('sweep', *settings, *grid, '--out', 'swept', '--csv', 'swept.csv')
    check('sweep: exit 1, since runs diverge; the budgets are told', done.returncode == 1 and
          'settings of each arm: average 4, bayes 2\nwarning: the arms have different budgets' in done.stdout, said(done))
    points = [f'average,batch={b},lr={lr}' for b in (8, 16) for lr in ('0.05', '1e30')]
    points += [f'bayes,batch={b}' for b in (8, 16)]
    logs = {point: [ivory.folder / f'swept/small-{point}-seed{seed}.h5' for seed in (4, 5)] for point in points}
    check('one log per arm, setting and seed', sorted((ivory.folder / 'swept').iterdir()) == sorted(sum(logs.values(), [])),
          os.listdir(ivory.folder / 'swept'))
    log = logs['average,batch=16,lr=0.05'][1]
    attributes = root_of(log)[0]
    check('the log tells the setting', attributes['arm'] == 'average,batch=16,lr=0.05' and
          'batch = 16\n' in attributes['scenario'] and 'lr = 0.05\n' in attributes['scenario'], attributes)
    (ivory.folder / 'again.toml').write_text(attributes['scenario'])
    exits('its scenario runs again', ivory('run', 'again.toml', '--out', 'again', '--quiet'), 0)
    check('with the same name and bits', hashes(ivory.folder / 'again' / log.name) == hashes(log))

    def validation(point):
        values = []
        for path in logs[point]:
            with h5py.File(path, 'r') as open_log:
                values.append(float(open_log['rounds/validation_accuracy'][0]))
        return sum(values) / len(values)

    best = [max((p for p in points if p.startswith(arm)), key=validation) for arm in ('average', 'bayes')]
    head, tail = done.stdout.split('the test set, selected settings only')
    marked = re.findall(r'(batch=\S+) .* selected$', head, re.MULTILINE)
    check('the best setting on the validation set is marked', marked == [p.split(',', 1)[1] for p in best], (marked, best))
    check('the diverging settings are in the table with their reason', len(re.findall(r'batch=\d+,lr=1e30 .* 0/2$', head, re.M)) == 2
          and 'average batch=8,lr=1e30: 2 of 2 runs failed; seed 4, 5: [run] some client' in head, head)
    check('only selected settings are shown on the test set, with differences', f'difference to {best[0]}' in tail and
          all((point in tail) == (point in best) for point in points), tail)
    check('progress shows the validation set alone', 'validation accuracy' in head and not ROUND_LINE.search(head), head)
    rows = list(csv.DictReader((ivory.folder / 'swept.csv').open()))
    check('--csv: every setting on the validation set, the selected ones on the test set',
          {row['arm'] for row in rows if row['metric'] == 'validation_accuracy'} == set(points) and
          {row['arm'] for row in rows if row['metric'] == 'accuracy'} == set(best) and
          {row['arm'] for row in rows if row['metric'] == 'selected' and row['mean'] == '1'} == set(best), rows)

    def tables(text):  # without the progress
        return text[text.index('the validation set, mean'):]

    again = ivory('sweep', *settings, *grid, '--out', 'swept')
    check('a second time all logs are reused, and the tables are the same', again.returncode == 1 and
          again.stdout.count('reused') == 12 and tables(again.stdout) == tables(done.stdout), said(again))
    side = ivory('sweep', *settings, *grid, '--parallel', 2, '--out', 'side')
    check('--parallel 2: the same bits', side.returncode == 1 and same_bits(ivory.folder / 'swept', ivory.folder / 'side'),
          said(side))
    drawn = ivory('sweep', *settings, '--grid', 'clients.batch=4,8,12,16', '--budget', 1, '--json', '--out', 'drawn')
    rows = [json.loads(line) for line in drawn.stdout.splitlines()]
    check('--budget draws the same of equal grids, --json prints rounds alone', drawn.returncode == 0 and len(rows) == 4 and
          len({row['arm'].split(',')[1] for row in rows}) == 1, said(drawn))
    parts = [ivory('sweep', *settings, *grid, '--shard', f'{i}/2', '--out', 'parts') for i in (1, 2)]
    check('shards run everything once', all(part.returncode == 1 and '6 runs of 12, 0 reused, 2 failed' in part.stdout and
                                            'without --shard' in part.stdout for part in parts), said(parts[1]))
    whole = ivory('sweep', *settings, *grid, '--out', 'parts')
    check('and the command without --shard selects', whole.returncode == 1 and whole.stdout.count('reused') == 12 and
          'selected settings only' in whole.stdout, said(whole))
    lost = ivory('sweep', *settings, '--unequal', '--grid', 'average:clients.optimizer.lr=1e37,1e38', '--out', 'none', '--quiet',
                 '--baseline', 'bayes')
    check('an arm whose settings all fail is reported, exit 1', lost.returncode == 1 and
          'average lr=1e38: 2 of 2 runs failed; seed 4, 5: [run]' in lost.stdout and
          'average: 2 of 2 runs failed; seed 4, 5: [sweep] no setting' in lost.stdout and
          re.search(r'^bayes +mean model +\d', lost.stdout, re.MULTILINE), said(lost))


    none = ivory('sweep', *settings, '--only', 'average', '--set', 'clients.steps=1', 'clients.batch=1', '--grid',
                 'clients.optimizer.lr=5e19,7e19', '--out', 'nan', '--quiet')  # finite weights whose outputs overflow
    check('runs that end, but predict no numbers: nothing is selected, exit 1', none.returncode == 1 and
          'failed; seed 4, 5: [sweep] no setting of the arm has a value' in none.stdout and '[run]' not in none.stdout,
          said(none))


def test_mistakes(ivory, file):
    print('-- mistakes')
    good = (file, '--set', 'data.validation=0.2', '--grid')
    exits('no grid', ivory('sweep', file), 2, '--grid')
    exits('no validation set', ivory('sweep', file, '--grid', 'clients.batch=8,16'), 2, '--set data.validation=0.1')
    exits('an unknown key', ivory('sweep', *good, 'clients.bacth=8,16'), 2, '--grid clients.bacth', 'did you mean "batch"')
    exits('an unknown arm', ivory('sweep', *good, 'avg:clients.batch=8,16'), 2, '--grid avg:clients.batch', 'average')
    exits('an empty grid', ivory('sweep', *good, 'clients.batch='), 2, '--grid clients.batch=')
    exits('a key with two grids', ivory('sweep', *good, 'clients.batch=8', 'clients.batch=16'), 2, 'clients.batch twice')
    exits('seeds in a grid', ivory('sweep', *good, 'seed=1,2'), 2, '--seeds')
    exits('selecting on the test set', ivory('sweep', *good, 'clients.batch=8', '--select', 'test/accuracy'), 2,
          'the test set never selects')
    exits('selecting by what a classification lacks', ivory('sweep', *good, 'clients.batch=8', '--select', 'rmse'), 2,
          'got rmse with model.loss = "softmax" (classification)', 'take accuracy or nll')
    regression = ('--set', 'data.kind=linear', 'model.loss=gaussian', 'partition.kind=iid')
    exits('selecting by what a regression lacks', ivory('sweep', *good, 'clients.batch=8', '--select', 'accuracy',
                                                        *regression), 2, 'take rmse or nll')
    exits('a grid over what settings are compared on', ivory('sweep', *good, 'data.validation=0.1,0.2'), 2,
          'data.validation changes the examples', '--set')
    exits('a grid over the budget', ivory('sweep', *good, 'rounds=1,2'), 2, 'rounds changes the budget', '--set')
    exits('arms with different budgets', ivory('sweep', *good, 'average:clients.batch=8,16'), 2,
          'got average 2, bayes 1', '--grid ARM:KEY', '--budget N', '--only', '--unequal')
    exits('a baseline that is no arm', ivory('sweep', *good, 'clients.batch=8', '--baseline', 'bays'), 2, 'bayes')
    exits('too many settings', ivory('sweep', *good, *(f'{key}={",".join(map(str, range(1, 102)))}' for key in
                                                        ('clients.batch', 'clients.epochs'))), 2, 'at most 10000')
    check('nothing was run', not (ivory.folder / 'runs').exists())


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        ivory = Ivory(str(pathlib.Path(binary).resolve()), pathlib.Path(folder))
        file = pathlib.Path(folder) / 'small.toml'
        file.write_text(SCENARIO)
        test_parallel(ivory, file)
        test_baseline(ivory, file)
        test_sweep(ivory, file)
        test_mistakes(ivory, file)
    print(f'{test_cli.failures} wrong' if test_cli.failures else 'all good')
    return 1 if test_cli.failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
