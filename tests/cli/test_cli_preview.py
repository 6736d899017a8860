#!/usr/bin/env python3
"""Previews of merged models: test_cli_preview.py IVORY. Skipped (77) like test_cli.py."""
import pathlib
import sys
import tempfile

import test_cli
from test_cli import SCENARIO, Ivory, check, exits, said
from test_cli_ensemble import own_data

import h5py
import numpy

LOGGED = ('--set', 'data={kind="hdf5", file="mine.h5", train_group="train", test_group="test"}', 'model.hidden=[]',
          'log.sites="every"', 'log.posterior_every=1', 'evaluation.clients_every=1', 'data.seed=3', 'partition.seed=3',
          'bayes:server.rho=0.7')
WEIGHTS = [[1, 1, 1, 1], [0.5, 2, 1, 0.25]]


class Log:
    def __init__(self, path):
        with h5py.File(path, 'r') as log:
            get = lambda name: log[name][:].astype(float)
            self.m, self.s = get('clients/mean'), get('clients/precision')
            self.v, self.V = get('clients/site_mean'), get('clients/site_precision')
            self.server, self.precision = get('posterior/mean'), get('posterior/precision')
            self.examples = get('clients/examples')
            self.metrics = {name: get('rounds/' + name) for name in ('accuracy', 'nll', 'ece')}
            self.client_metrics = {name: get('clients/' + name) for name in ('accuracy', 'nll', 'ece')}


def metrics_of(mean, x, y):
    """Of a linear model of 3 classes, with 15 bins for the ECE."""
    logits = x @ mean[:12].reshape(3, 4).T + mean[12:]
    p = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    right, confidence = p.argmax(axis=1) == y, p.max(axis=1)
    bins = numpy.ceil(confidence * 15)
    ece = sum(abs((right[bins == b] - confidence[bins == b]).sum()) for b in set(bins)) / len(y)
    return {'accuracy': right.mean(), 'nll': -numpy.log(p[numpy.arange(len(y)), y]).mean(), 'ece': ece}


def product(m0, s0, m, s, w):
    total = s0 + numpy.einsum('t,tp->p', w, s - s0)
    return m0 + numpy.einsum('t,tp->p', w, s * (m - m0)) / total, total


def merged_by_hand(log, row, w):
    """{rule: mean} of round row + 1 (row >= 1), with the log's alpha = 1/(1 + K rho), rho = 0.7, d = 0.5, s0 = 1."""
    w = numpy.array(w, float)
    m, s, v, V = log.m[row], log.s[row], log.v[row], log.V[row]
    m0, s0 = log.server[row - 1], log.precision[row - 1]
    along = lambda a, b=w: numpy.einsum('t,tp->p', b, a)
    alpha = 1 / (1 + 0.7 * w.sum())
    eta = (1 - alpha) * along(s * m) / w.sum() + alpha * along(v)
    precision = (1 - alpha) * along(s) / w.sum() + alpha * (1 + along(V))
    return {
        'average': along(m) / w.sum(),
        'task_arithmetic': m0 + along(m - m0),
        'isotropic': m0 + along(m - m0),
        'uncertainty': along(s * m) / along(s),
        'diagonal': product(m0, s0, m, s, w)[0],
        'vb_admm': eta / precision,
        'pvi': along(v) / (1 + along(V)),
    }


def read(path):
    """{(rule, weights): {name: value}} of a file of previews."""
    with h5py.File(path, 'r') as file:
        group = file['previews']
        keys = [(rule.decode(), tuple(weight)) for rule, weight in zip(group['rule'][:], group['weight'][:])]
        names = [name for name in group if group[name].shape[:1] == (len(keys),) and name not in ('rule', 'weight')]
        columns = {name: group[name][:] for name in names}
        scaled = all('units' in item.attrs and 'long_name' in item.attrs and
                     (item.id and h5py.h5ds.is_scale(item.id) or all(len(axis) == 1 for axis in item.dims)) for item in group.values())
    return {key: {name: column[i] for name, column in columns.items()} for i, key in enumerate(keys)}, scaled


def close(a, b, tolerance):
    a, b = numpy.asarray(a, float), numpy.asarray(b, float)
    return a.shape == b.shape and numpy.all(numpy.abs(a - b) <= tolerance * max(1, numpy.abs(b).max()))


def test_rules(ivory, bayes, data):
    print('-- previews of every rule, computed again from the log')
    log = Log(bayes)
    with h5py.File(data, 'r') as file:
        x, y = file['test/x'][:].astype(float), file['test/y'][:]
    words = [word for w in WEIGHTS for word in ('--weights', ','.join(map(str, w)))]
    done = ivory('preview', bayes, *words, '--models')
    exits('preview', done, 0, 'vb_admm', 'average', 'base: server after round 2', 'written to')
    found, scaled = read(ivory.folder / 'runs/small-bayes-seed4-preview.h5')
    check('datasets have units, meanings and scales', scaled)
    check('a row per rule and weights', len(found) == 14 and len(done.stdout.splitlines()) >= 17, done.stdout)
    for w in WEIGHTS:
        for rule, mean in merged_by_hand(log, 2, w).items():
            row = found[rule, tuple(w)]
            check(f'{rule} with {w}: the merged model', close(row['mean'], mean, 2e-5), (row['mean'], mean))
            expected = metrics_of(row['mean'].astype(float), x, y)
            check(f'{rule} with {w}: its metrics', all(abs(row[name] - value) < 1e-5 for name, value in expected.items()),
                  (row, expected))
    row = found['vb_admm', (1, 1, 1, 1)]
    check('equal weights are the server\'s own step', numpy.array_equal(row['mean'], log.server[2].astype('float32')) and
          numpy.array_equal(row['precision'], log.precision[2].astype('float32')))
    check('its metrics are those of the log', all(row[name] == log.metrics[name][2] for name in log.metrics) and
          all(close(row['client_' + name], log.client_metrics[name][-1], 1e-6) for name in log.client_metrics), row)

    again = ivory('preview', bayes, '--rule', 'vb_admm,pvi', '--rho', 2, '--damping', 1, '--alpha', 0.3, '--models', '--out',
                  'rho.h5')
    exits('another rho, damping and alpha', again, 0)
    found, _ = read(ivory.folder / 'rho.h5')
    m0, s0, m, s = log.server[1], log.precision[1], log.m[2], log.s[2]
    v = log.v[2] + (2 - 0.35) * (s * m - s0 * m0)
    V = log.V[2] + (2 - 0.35) * (s - s0)
    hand = (0.7 * (s * m).mean(0) + 0.3 * v.sum(0)) / (0.7 * s.mean(0) + 0.3 * (1 + V.sum(0)))
    check('the dual step is taken again', close(found['vb_admm', (1, 1, 1, 1)]['mean'], hand, 1e-4) and
          close(found['pvi', (1, 1, 1, 1)]['mean'], v.sum(0) / (1 + V.sum(0)), 1e-4), found)

    first = ivory('preview', bayes, '--round', 1, '--rule', 'diagonal,uncertainty', '--delta', 1, '--weights', '1,2,0,1',
                  '--models', '--out', 'first.h5')
    exits('round 1 has the prior as its base', first, 0, 'server before round 1')
    found, _ = read(ivory.folder / 'first.h5')
    hand, precision = product(numpy.zeros(15), numpy.ones(15), log.m[0], log.s[0], numpy.array([1, 2, 0, 1.]))
    for rule in ('diagonal', 'uncertainty'):  # the same where delta is the prior's precision
        row = found[rule, (1, 2, 0, 1)]
        check(f'{rule} with the prior', close(row['mean'], hand, 1e-5) and close(row['precision'], precision, 1e-5), row)
    some = ivory('preview', bayes, '--clients', '3,1', '--rule', 'average', '--weights', '1,3', '--models', '--out', 'two.h5')
    exits('two clients', some, 0, '2 of 4 clients: 3 1')
    found, _ = read(ivory.folder / 'two.h5')
    check('in the order that they were named', close(found['average', (1, 3)]['mean'], (log.m[2][3] + 3 * log.m[2][1]) / 4,
                                                     1e-5))


def test_grid_and_mixtures(ivory, bayes, other):
    print('-- grids and mixtures')
    done = ivory('preview', bayes, '--grid', 2, '--rule', 'diagonal,average,mixture', '--late-rounds', 1, '--models', '--out',
                 'grid.h5')
    exits('a grid', done, 0)
    found, _ = read(ivory.folder / 'grid.h5')
    log = Log(bayes)
    check('all weights n/2 that sum to 1', len(found) == 30 and all(sum(w) == 1 for _, w in found))
    for k in range(4):
        vertex = tuple(float(i == k) for i in range(4))
        check(f'vertex {k} is client {k}', all(close(found[rule, vertex]['mean'], log.m[2][k], 1e-6)
                                               for rule in ('average', 'diagonal', 'mixture')))
    check('one component is the diagonal form', all(close(row['mean'], found['diagonal', w]['mean'], 1e-5)
                                                    for (rule, w), row in found.items() if rule == 'mixture'))
    for kind in ('whole', 'layers', 'tempered'):
        done = ivory('preview', bayes, other, '--late-rounds', 2, '--responsibilities', kind, '--rule', 'mixture', '--models',
                     '--out', 'mixture.h5')
        exits(f'a mixture of two seeds and two rounds, {kind}', done, 0, 'mixture')
    found, _ = read(ivory.folder / 'mixture.h5')
    with h5py.File(ivory.folder / 'mixture.h5', 'r') as file:
        check('four components each', numpy.array_equal(file['previews/components'][:], [4] * 4))
    # Tempered: the end is a fixed point of EM, computed by hand.
    logs, theta = [log, Log(other)], found['mixture', (1, 1, 1, 1)]['mean'].astype(float)
    m = numpy.array([own.m[row] for own in logs for row in (2, 1)])
    s = numpy.array([own.s[row] for own in logs for row in (2, 1)])
    density = 0.5 * (numpy.log(s) - s * (theta - m) ** 2).mean(axis=2)
    r = numpy.exp(density - density.max(axis=0))
    r = (r / r.sum(axis=0))[:, :, None]
    s0, m0 = log.precision[1], log.server[1]
    hand = (-3 * s0 * m0 + (r * s * m).sum((0, 1))) / (-3 * s0 + (r * s).sum((0, 1)))
    check('EM has come to its end', close(theta, hand, 1e-3), (theta, hand))


def ranks(values):
    values = numpy.asarray(values)
    return numpy.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def test_retrained(ivory, file, bayes):
    print('-- client weights, and previews against them')
    plain = Log(bayes)
    logs, weights = [], [[1, 1, 1, 1], [3, 1, 1, 1], [1, 3, 1, 1], [1, 1, 0.25, 1], [0.5, 1, 1, 4]]
    for i, w in enumerate(weights):
        done = ivory('run', file, '--only', 'bayes', '--quiet', *LOGGED, f'name="w{i}"', f'clients.weights={w}')
        exits(f'weights {w}', done, 0)
        logs.append(f'runs/w{i}-bayes-seed4.h5')
    check('weights of 1 change nothing', numpy.array_equal(Log(ivory.folder / logs[0]).server, plain.server))
    for name, more in (('half', ['bayes:server.temperature=0.1']),
                       ('twice', ['bayes:server.temperature=0.2', 'clients.weights=[2,2,2,2]'])):
        exits(name, ivory('run', file, '--only', 'bayes', '--quiet', *LOGGED, f'name="{name}"', *more), 0)
    check('twice the weights at twice the temperature are the same run',
          numpy.array_equal(Log(ivory.folder / 'runs/half-bayes-seed4.h5').server,
                            Log(ivory.folder / 'runs/twice-bayes-seed4.h5').server))
    exits('fedavg', ivory('run', file, '--only', 'average', '--quiet', *LOGGED, 'name="fed"', 'clients.weights=[3,1,1,0.5]'), 0)
    fed = Log(ivory.folder / 'runs/fed-average-seed4.h5')
    share = fed.examples * [3, 1, 1, 0.5]
    check('FedAvg weighs by examples times weight', close(fed.server[2], share @ fed.m[2] / share.sum(), 1e-6))

    done = ivory('preview', bayes, '--rule', 'pvi,diagonal', '--retrained', *logs, '--out', 'agreement.h5')
    exits('--retrained', done, 0, 'rank correlation of previews with 5 retrained models')
    found, _ = read(ivory.folder / 'agreement.h5')
    trained = [Log(ivory.folder / log) for log in logs]
    with h5py.File(ivory.folder / 'agreement.h5', 'r') as out:
        check('the weights of the logs', numpy.array_equal(out['retrained/weight'][:], weights))
        check('the metrics of the logs', numpy.array_equal(out['retrained/nll'][:], [t.metrics['nll'][2] for t in trained]))
        for i, rule in enumerate(('pvi', 'diagonal')):
            previews = [found[rule, tuple(map(float, w))] for w in weights]
            for path, ours, theirs in (
                    ('spearman_nll', [p['nll'] for p in previews], [t.metrics['nll'][2] for t in trained]),
                    ('spearman_accuracy', [p['accuracy'] for p in previews], [t.metrics['accuracy'][2] for t in trained])):
                expected = numpy.corrcoef(ranks(ours), ranks(theirs))[0, 1]
                check(f'{rule}: {path}', abs(out['rank_correlation/' + path][i] - expected) < 1e-9)
            for k in range(4):
                expected = numpy.corrcoef(ranks([p['client_nll'][k] for p in previews]),
                                          ranks([t.client_metrics['nll'][-1][k] for t in trained]))[0, 1]
                check(f'{rule}: NLL of client {k}', abs(out['rank_correlation/spearman_client_nll'][i, k] - expected) < 1e-9)

    for what, words, expected in (
            ('too few weights', ['clients.weights=[1,2]'], ['clients.weights', '4 clients', 'got 2']),
            ('a weight of 0', ['clients.weights=[1,1,1,0]'], ['clients.weights']),
            ('weights in pooled training', ['clients.weights=[1,1,1,1]', 'clients.pool=true'], ['clients.weights', 'pool']),
            ('weights that a method cannot use', ['clients.weights=[1,1,1,1]', 'server={algorithm="scaffold"}'],
             ['clients.weights', 'scaffold', 'fedavg'])):
        exits(what, ivory('validate', file, '--only', 'average', '--set', *words), 2, *expected)


def test_during_a_run(ivory, file, bayes):
    print('-- previews that a run records')
    rules = ['average', 'task_arithmetic', 'uncertainty', 'isotropic', 'diagonal', 'vb_admm', 'pvi']
    written = 'bayes:log.previews=[' + ', '.join(f'"{rule}"' for rule in rules) + ']'
    exits('a run', ivory('run', file, '--quiet', *LOGGED, 'name="live"', written), 0)
    live = ivory.folder / 'runs/live-bayes-seed4.h5'
    with h5py.File(live) as log, h5py.File(bayes) as plain:
        check('training is what it was', numpy.array_equal(log['rounds/state_hash'][:], plain['rounds/state_hash'][:]))
        check('a row for each recorded round and rule', [r.decode() for r in log['previews/rule'][:]] == rules and
              log['previews/round'][:].tolist() == [1, 2, 3])
        for row in range(3):
            out = f'live{row}.h5'
            exits(f'the same from the log, round {row + 1}',
                  ivory('preview', bayes, '--round', row + 1, '--rule', ','.join(rules), '--weights', 'equal', '--out', out), 0)
            found, _ = read(ivory.folder / out)
            for i, rule in enumerate(rules):
                later = found[rule, (1, 1, 1, 1)]
                check(f'{rule} in round {row + 1}', all(log[f'previews/{name}'][row, i] == later[name]
                                                        for name in ('accuracy', 'nll', 'ece', 'brier', 'entropy', 'clamped')),
                      {name: (log[f'previews/{name}'][row, i], value) for name, value in later.items() if f'previews/{name}' in log})
        evaluated = numpy.isfinite(log['rounds/nll'][:])
        check('vb_admm is the server', evaluated.sum() == 2 and
              numpy.array_equal(log['previews/nll'][:, 5][evaluated], log['rounds/nll'][:][evaluated]))
    exits('by shares', ivory('run', file, '--quiet', *LOGGED, 'name="shares"', 'log.previews=["isotropic"]',
                             'log.preview_weights="shares"'), 0)
    exits('the same from the log', ivory('preview', bayes, '--rule', 'isotropic,average', '--weights', 'shares', '--out', 's.h5'), 0)
    found, _ = read(ivory.folder / 's.h5')
    rows = {rule: row for (rule, _), row in found.items()}
    with h5py.File(ivory.folder / 'runs/shares-bayes-seed4.h5') as log:
        check('by shares as in the log', log['previews/nll'][2, 0] == rows['isotropic']['nll'])
    check('with shares the product of alike precisions is the average',
          abs(rows['isotropic']['nll'] - rows['average']['nll']) < 1e-5, rows)
    for what, words, expected in (
            ('a rule that there is not', 'log.previews=["averag"]', ['log.previews', '"averag"', 'did you mean "average"']),
            ('a rule for several seeds', 'log.previews=["mixture"]', ['log.previews', '"mixture"', '"diagonal"']),
            ('a rule without its precisions', 'average:log.previews=["diagonal"]', ['log.previews', 'without a precision'])):
        exits(what, ivory('validate', file, *LOGGED, words), 2, *expected)


def test_part_of_a_log(ivory, file):
    print('-- layers and float16')
    exits('float16', ivory('run', file, '--quiet', *LOGGED, 'name="half"', 'log.storage="float16"'), 0)
    half = ivory.folder / 'runs/half-bayes-seed4.h5'
    whole = Log(ivory.folder / 'runs/small-bayes-seed4.h5')
    with h5py.File(half) as log:
        check('numpy\'s float16', all(log[name].dtype == numpy.float16 for name in
                                     ('posterior/mean', 'posterior/precision', 'clients/site_mean', 'clients/precision')))
        check('rounded as numpy rounds', numpy.array_equal(log['clients/site_mean'][:], whole.v.astype('float16')) and
              numpy.array_equal(log['posterior/precision'][:], whole.precision.astype('float16')))
    exits('previews of it', ivory('preview', half, '--rule', 'pvi', '--models', '--out', 'half.h5'), 0)
    mean = list(read(ivory.folder / 'half.h5')[0].values())[0]['mean']
    check('are nearly the same', close(mean, merged_by_hand(whole, 2, [1] * 4)['pvi'], 5e-3))
    exits('layers', ivory('run', file, '--quiet', *LOGGED, 'name="part"', 'log.layers=["0.bias"]'), 0)
    part = ivory.folder / 'runs/part-bayes-seed4.h5'
    with h5py.File(part) as log:
        check('three of fifteen', numpy.array_equal(log['clients/mean'][:], whole.m[:, :, 12:].astype('float32')) and
              log['clients/parameter'][:].tolist() == [12, 13, 14] == log['posterior/parameter'][:].tolist())
    exits('are not enough for previews', ivory('preview', part), 2, 'all 15 parameters', 'got 3', 'log.layers = []')
    exits('a layer that there is not', ivory('validate', file, *LOGGED, 'log.layers=["3"]'), 2, 'log.layers', '"3"', '0.weight')
    exits('not with matrices', ivory('validate', file, *LOGGED, 'log.layers=["0"]', 'log.precision_matrix=true'), 2,
          'log.precision_matrix', 'drop one')


def test_refusals(ivory, file, bayes, average, data):
    print('-- what is refused')
    for what, words, expected in (
            ('another rule', [bayes, '--rule', 'diagonl'], ['--rule', 'diagonl', 'did you mean "diagonal"']),
            ('weights of another length', [bayes, '--weights', '1,2'], ['4 numbers', '--weights', '1,2']),
            ('a negative weight', [bayes, '--weights', '1,1,1,-1'], ['"-1"', '--weights']),
            ('no weight', [bayes, '--weights', '0,0,0,0'], ['sum of 0']),
            ('a round that is not there', [bayes, '--round', 9], ['round 9', '1, 2, 3', 'log.sites']),
            ('too many late rounds', [bayes, '--late-rounds', 4], ['4 late rounds', 'got 3']),
            ('a client that is not there', [bayes, '--clients', '1,7'], ['0 to 3', 'got 7', '--clients']),
            ('a client twice', [bayes, '--clients', '1,1'], ['once', '--clients']),
            ('too fine a grid', [bayes, '--grid', 1000], ['--grid', '1/1000']),
            ('grid and weights', [bayes, '--grid', 2, '--weights', 'equal'], ['--grid', '--weights']),
            ('a precision where there is none', [average, '--rule', 'diagonal'],
             ['diagonal', 'fedavg', 'without a precision', 'task_arithmetic']),
            ('sites where there are none', [average, '--rule', 'pvi'], ['pvi', 'site']),
            ('a prior where there is none', [average, '--base', 'prior'], ['--base prior', 'fedavg']),
            ('no precision in the start weights', [bayes, '--base', 'start', '--rule', 'diagonal'],
             ['start weights', 'no precision', '--total 1']),
            ('the log as output', [bayes, '--out', bayes], ['--out', 'something else']),
            ('no log', ['mine.h5'], ['Ivory'])):
        exits(what, ivory('preview', *words), 2, *expected)
    done = ivory('preview', average)
    exits('a point method has three rules', done, 0, 'not from this log: diagonal', 'isotropic')
    check('and no others', {rule for rule, _ in read(ivory.folder / 'runs/small-average-seed4-preview.h5')[0]} ==
          {'average', 'task_arithmetic', 'isotropic'}, said(done))
    exits('by examples', ivory('preview', average, '--rule', 'average', '--weights', 'examples', '--models', '--out', 'a.h5'), 0)
    log = Log(average)
    check('the average by examples is FedAvg', close(list(read(ivory.folder / 'a.h5')[0].values())[0]['mean'], log.server[2],
                                                     1e-6))
    exits('a run', ivory('run', file, '--quiet', *LOGGED, 'name="bare"', 'log.sites="none"'), 0)
    exits('a log without posteriors', ivory('preview', 'runs/bare-bayes-seed4.h5'), 2, 'log.sites', '"none"', 'log.sites=every')
    exits('a run', ivory('run', file, '--quiet', *LOGGED, 'name="last"', 'log.sites="last"', 'log.posterior_every=0'), 0)
    last = 'runs/last-bayes-seed4.h5'
    exits('no server before the round', ivory('preview', last, '--rule', 'diagonal'), 2, 'after round 2', 'log.posterior_every')
    exits('weights that sum to 1 need none', ivory('preview', last, '--grid', 1), 0, 'diagonal', 'task_arithmetic')
    exits('nor do sites', ivory('preview', last, '--rule', 'vb_admm,pvi'), 0)
    exits('another seed\'s partition', ivory('run', file, '--quiet', *LOGGED, 'name="own"', 'partition.seed=0', '--seed', 9), 0)
    exits('is no component', ivory('preview', bayes, 'runs/own-bayes-seed9.h5'), 2, 'partition', 'partition.seed')
    with h5py.File(data, 'r+') as changed:
        changed['test/y'][0] = (changed['test/y'][0] + 1) % 3
    exits('other data than those of the log', ivory('preview', bayes), 2, 'checksum', 'put them back')


def test_patterns(ivory, file):
    """What previews and replays leave beside their logs matches the same patterns."""
    print('-- previews among logs')
    exits('run', ivory('run', file, '--only', 'bayes', '--out', 'mixed', '--quiet', *LOGGED), 0)
    log = ivory.folder / 'mixed/small-bayes-seed4.h5'
    exits('preview', ivory('preview', log), 0)
    exits('replay', ivory('replay', log, '--round', 1, '--client', 0, '--out', log.parent / 'a-replay.h5'), 0)
    others = [log.parent / 'a-replay.h5', log.parent / 'small-bayes-seed4-preview.h5']
    everything = sorted(log.parent.glob('*.h5'))
    check('all are there', everything == sorted([log, *others]), everything)
    for verb in (('compare', '--from'), ('inspect',), ('pack',)):
        alone, mixed = ivory(*verb, log), ivory(*verb, *everything)
        notes = [line for line in mixed.stderr.splitlines() if 'passed by' in line]
        check(f'{verb[0]} passes them by with one note', mixed.returncode == 0 and len(notes) == 1 and
              all(str(other) in notes[0] for other in others) and (verb[0] == 'pack' or mixed.stdout == alone.stdout), said(mixed))
        for other, maker in zip(others, ('ivory replay', 'ivory preview')):
            exits(f'{verb[0]} of one alone', ivory(*verb, other), 2, maker, other.name)
        exits(f'{verb[0]} of nothing else', ivory(*verb, *others), 2, 'ivory replay')


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        ivory = Ivory(str(pathlib.Path(binary).resolve()), pathlib.Path(folder))
        file = pathlib.Path(folder) / 'small.toml'
        file.write_text(SCENARIO)
        data = ivory.folder / 'mine.h5'
        own_data(data)
        exits('a run with the clients\' posteriors', ivory('run', file, '--quiet', *LOGGED), 0)
        exits('another seed', ivory('run', file, '--quiet', '--seed', 5, *LOGGED), 0)
        bayes, average, other = (ivory.folder / f'runs/small-{arm}.h5' for arm in ('bayes-seed4', 'average-seed4', 'bayes-seed5'))
        test_rules(ivory, bayes, data)
        test_grid_and_mixtures(ivory, bayes, other)
        test_retrained(ivory, file, bayes)
        test_during_a_run(ivory, file, bayes)
        test_part_of_a_log(ivory, file)
        test_patterns(ivory, file)
        test_refusals(ivory, file, bayes, average, data)
    print(f'{test_cli.failures} wrong' if test_cli.failures else 'all good')
    return 1 if test_cli.failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
