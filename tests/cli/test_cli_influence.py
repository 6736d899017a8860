#!/usr/bin/env python3
"""Influence of clients and of examples: test_cli_influence.py IVORY SOURCE_DIR. Skipped (77) like test_cli.py."""
import csv
import pathlib
import sys
import tempfile

import test_cli
from test_cli import Ivory, check, exits, said

import h5py
import numpy

CLIENTS = 5
SCENARIO = '''
name = "linear"
seed = 3
rounds = 4
[data]
kind = "hdf5"
file = "mine.h5"
train_group = "train"
test_group = "test"
[partition]
kind = "dirichlet"
[model]
kind = "linear"
[clients]
count = 5
epochs = 3
batch = 20
optimizer = { name = "ivon", lr = 0.05, hess_init = 0.1, rescale_lr = false }
[server]
algorithm = "pvi"
prior_precision = 4.0
[log]
sites = "last"
posterior_every = 2
'''


def own_data(path):
    draw = numpy.random.default_rng(5)
    with h5py.File(path, 'w') as data:
        for group, n in (('train', 200), ('test', 80)):
            x = draw.normal(size=(n, 4))
            data[f'{group}/x'] = x.astype('float32')
            data[f'{group}/y'] = numpy.argmax(x[:, :3] + draw.normal(size=(n, 3)), axis=1).astype('int32')


def nll(m, x, y):
    """Of the linear model m on examples."""
    logits = x @ m[:12].reshape(3, 4).T + m[12:]
    logits = logits - logits.max(axis=1, keepdims=True)
    return (numpy.log(numpy.exp(logits).sum(axis=1)) - logits[numpy.arange(len(y)), y]).mean()


def examples(path, group):
    with h5py.File(path, 'r') as file:
        return file[f'{group}/x'][:].astype(float), file[f'{group}/y'][:]


def by_hand(path, data, row=-1):
    """{client: (score, shift, test NLL, own NLL)} from the log alone."""
    x, y = examples(data, 'test')
    train_x, train_y = examples(data, 'train')
    found = {}
    with h5py.File(path, 'r') as log:
        m, s = (log[f'posterior/{name}'][row].astype(float) for name in ('mean', 'precision'))
        for k in range(CLIENTS):
            v, V = (log[f'clients/site_{name}'][row, k].astype(float) for name in ('mean', 'precision'))
            rest = numpy.maximum(s - V, 1e-3 * 4.0)
            shifted = (s * m - v) / rest
            first, count = log['partition/train_offset'][k], log['partition/train_count'][k]
            rows = log['partition/train_index'][first:first + count]
            found[k] = (0.5 * (s * (shifted - m) ** 2).sum(), numpy.sqrt(((shifted - m) ** 2).sum()), nll(shifted, x, y),
                        nll(shifted, train_x[rows], train_y[rows]))
    return found


def rows_of(path):
    return {int(row['client']): row for row in csv.DictReader(path.open())}


def close(a, b, tolerance=2e-5):
    return all(abs(x - y) <= tolerance * max(1, abs(y)) for x, y in zip(a, b, strict=True))


def numbers(row):
    return tuple(float(row[name]) for name in ('score', 'shift', 'test_nll', 'own_nll'))


def ranks(values):
    return numpy.argsort(numpy.argsort(values))


def test_clients(ivory, file):
    print('-- influence of clients')
    data = ivory.folder / 'mine.h5'
    exits('run', ivory('run', file), 0)
    log = ivory.folder / 'runs/linear-seed3.h5'
    done = ivory('influence', log, '--csv', 'a.csv', '--threads', 2)
    exits('influence', done, 0, 'after round 4', 'client', 'score', 'own NLL')
    table, expected = rows_of(ivory.folder / 'a.csv'), by_hand(log, data)
    check('the numbers are those of the sites in the log', sorted(table) == list(range(CLIENTS)) and
          all(close(numbers(table[k]), expected[k]) for k in table), (table, expected))
    scores = [float(row['score']) for row in csv.DictReader((ivory.folder / 'a.csv').open())]
    check('the largest score comes first', scores == sorted(scores, reverse=True) and scores[-1] > 0, scores)
    shown = [line.split()[0] for line in done.stdout.splitlines()[-CLIENTS:]]
    check('the table has the same order', shown == [str(k) for k in table], done.stdout)
    with h5py.File(log, 'r') as file_:
        m, s = file_['posterior/mean'][-1].astype(float), file_['posterior/precision'][-1]
        V = file_['clients/site_precision'][-1].sum(axis=0)
        logged = file_['rounds/nll'][-1]
    check('PVI: the server is the prior times the sites', close(s, 4.0 + V, 1e-5))
    check('all clients: the mean model of the log', close([float(table[0]['test_nll_all'])], [logged], 1e-9) and
          close([logged], [nll(m, *examples(data, 'test'))], 1e-6))
    ivory('influence', log, '--csv', 'b.csv', '--threads', 1)
    check('the thread count changes nothing', (ivory.folder / 'a.csv').read_bytes() == (ivory.folder / 'b.csv').read_bytes())
    return table


def test_without(ivory, file, table):
    print('-- training without a client')
    log = ivory.folder / 'runs/linear-seed3.h5'
    retrained = []
    for k in range(CLIENTS):
        done = ivory('run', file, '--set', f'clients.without=[{k}]', f'name=without-{k}')
        if k == 2:
            exits('run without client 2', done, 0)
        retrained.append(ivory.folder / f'runs/without-{k}-seed3.h5')
    with h5py.File(log, 'r') as all_, h5py.File(retrained[2], 'r') as less:
        check('partition and start weights are the same', all(all_.attrs[name] == less.attrs[name] for name in
                                                              ('partition_hash', 'start_hash', 'data_checksum', 'clients')))
        check('the client is absent in every round', (less['clients/participation'][:] == [1, 1, 0, 1, 1]).all() and
              (less['rounds/participants'][:] == CLIENTS - 1).all(), less['clients/participation'][:])
        check('it keeps its examples, and is evaluated', less['clients/examples'][2] == all_['clients/examples'][2] and
              numpy.isfinite(less['clients/nll'][-1]).all())
        # PVI's server is the prior times the sites of those who are there.
        s, V = less['posterior/precision'][-1], less['clients/site_precision'][-1]
        check('the server is the prior times the others\' sites', numpy.isnan(V[2]).all() and
              close(s, 4.0 + numpy.nansum(V, axis=0), 1e-5))
        check('bytes are those of the others', (less['rounds/bytes_up'][:] * CLIENTS ==
                                                all_['rounds/bytes_up'][:] * (CLIENTS - 1)).all())
        # In round 1 every client starts from the same server: who else is there changes nothing for it.
        same = [k for k in range(CLIENTS) if k != 2]
        check('in round 1 the others do what they did', (less['clients/train_loss'][0, same] ==
                                                         all_['clients/train_loss'][0, same]).all())
    done = ivory('influence', log, '--retrained', *retrained, '--csv', 'r.csv')
    exits('influence --retrained', done, 0, 'rank correlation', 'over 5 clients')
    found = rows_of(ivory.folder / 'r.csv')
    x, y = examples(ivory.folder / 'mine.h5', 'test')
    with h5py.File(log, 'r') as all_:
        m, s = (all_[f'posterior/{name}'][-1].astype(float) for name in ('mean', 'precision'))
    good = True
    for k, path in enumerate(retrained):
        with h5py.File(path, 'r') as less:
            other = less['posterior/mean'][-1].astype(float)
        expected = (0.5 * (s * (other - m) ** 2).sum(), nll(other, x, y))
        good = good and close((float(found[k]['retrained_score']), float(found[k]['retrained_test_nll'])), expected)
    check('measured numbers are those of the retrained means', good, found)
    check('predictions are the same as before', all(numbers(found[k]) == numbers(table[k]) for k in table))
    order = sorted(found)
    predicted = ranks([float(found[k]['score']) for k in order])
    measured = ranks([float(found[k]['retrained_score']) for k in order])
    rho = 1 - 6 * ((predicted - measured) ** 2).sum() / (CLIENTS * (CLIENTS ** 2 - 1))
    check('the rank correlation of the scores is Spearman\'s', f'score {rho:.3f}' in done.stdout, (rho, done.stdout))

    print('-- what is refused')
    exits('retrained with other settings', ivory('influence', log, '--retrained', log), 2, 'clients.without', '[]')
    ivory('run', file, '--set', 'clients.without=[1]', 'clients.batch=10', 'name=other')
    exits('retrained with another batch', ivory('influence', log, '--retrained', 'runs/other-seed3.h5'), 2,
          'clients.batch', '20', '10')
    for value, words in (('[7]', ('0 to 4', '7')), ('[1,1]', ('once', '1')), ('[1.5]', ('whole', '1.5')),
                         ('[0,1,2,3,4]', ('must stay', '5')), ('[-1]', ('without', '-1'))):
        done = ivory('run', file, '--set', f'clients.without={value}', '--out', 'refused')
        exits(f'clients.without = {value}', done, 2, 'clients.without', *words)
    exits('validate says so too', ivory('validate', file, '--set', 'clients.without=[7]'), 2, 'clients.without')
    exits('without a common model', ivory('run', file, '--set', 'clients.without=[1]', 'server={algorithm="local"}',
                                          'clients.optimizer={name="sgd",lr=0.1}', '--out', 'refused'), 2, 'without', 'local')


def test_refusals(ivory, file):
    runs = (('sites', ['log.sites=none'], ('log.sites', '--set log.sites=last')),
            ('posterior', ['server={algorithm="fedavg"}', 'clients.optimizer={name="sgd",lr=0.1}'], ('fedavg', 'vb_admm')),
            ('full', ['server={algorithm="vb_admm",posterior="full"}', 'clients.optimizer={name="von",lr=0.05}'],
             ('full', 'diagonal')))
    for name, settings, words in runs:
        made = ivory('run', file, '--set', *settings, '--out', name)
        exits(f'a log without {name}', ivory('influence', f'{name}/linear-seed3.h5'), 2, *words, 'linear-seed3.h5')
        check(f'  (it ran: {name})', made.returncode == 0, said(made))
    exits('no log', ivory('influence', file), 2, 'small.toml')
    ivory('run', file, '--set', 'log.storage=float16', '--out', 'half')
    exits('a log in float16', ivory('influence', 'half/linear-seed3.h5'), 0, 'float16', 'rounding')
    ivory('run', file, '--set', 'log.storage=float16', 'server.prior_precision=1e5', '--out', 'large')
    exits('beyond float16', ivory('influence', 'large/linear-seed3.h5'), 2, 'precisions of the server', 'finite', 'float32')
    partly = ivory('run', file, '--set', 'clients.participation=0.4', 'log.sites=every', 'rounds=5', 'log.posterior_every=2',
                   '--out', 'partly')
    done = ivory('influence', 'partly/linear-seed3.h5', '--csv', 'p.csv')
    exits('some clients absent', done, 0, 'after round 5')
    with h5py.File(ivory.folder / 'partly/linear-seed3.h5', 'r') as log:
        status, logged = log['clients/participation'][:], set(log['clients/site_round'][:])
    last = [max([r + 1 for r in range(5) if status[r, k] == 1], default=0) for k in range(CLIENTS)]
    table = rows_of(ivory.folder / 'p.csv')
    check('a site is known where the round of its last visit was logged, or there was none',
          partly.returncode == 0 and all((table[k]['score'] != '') == (last[k] in logged | {0}) and
                                         int(table[k]['last_visit']) == last[k] for k in table), (last, logged, table))
    check('one that never came moves nothing', all(float(table[k]['score']) == 0 for k in table if last[k] == 0))
    with h5py.File(ivory.folder / 'mine.h5', 'r+') as changed:
        changed['test/y'][0] = (changed['test/y'][0] + 1) % 3
    exits('other examples than those of the log', ivory('influence', 'runs/linear-seed3.h5'), 2, 'checksum', 'run again')


def softmax(logits):
    p = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def test_sensitivity(ivory, file):
    print('-- sensitivity of examples')
    more = ('evaluation.sensitivity=50', 'evaluation.every=2', 'rounds=5', 'server.temperature=0.5')
    exits('run with evaluation.sensitivity', ivory('run', file, '--out', 'sense', '--set', *more), 0)
    ivory('run', file, '--out', 'one', '--threads', 1, '--set', *more)
    ivory('run', file, '--out', 'without', '--set', *more[1:])
    x, y = examples(ivory.folder / 'mine.h5', 'train')
    with h5py.File(ivory.folder / 'sense/linear-seed3.h5') as log, h5py.File(ivory.folder / 'one/linear-seed3.h5') as one, \
            h5py.File(ivory.folder / 'without/linear-seed3.h5') as plain:
        m, s = (log[f'posterior/{name}'][-1].astype(float) for name in ('mean', 'precision'))
        rows = log['sensitivity/row'][:]
        probe = numpy.hstack([x[rows], numpy.ones((50, 1))])
        weights, variances = (numpy.hstack([v[:12].reshape(3, 4), v[12:, None]]) for v in (m, 1 / s))
        label = y[rows]
        p = softmax(probe @ weights.T)
        residual = p - numpy.eye(3)[label]
        df = residual * (probe ** 2 @ variances.T) / 0.5
        dp = p * (df - (p * df).sum(axis=1, keepdims=True))
        dm = numpy.sqrt((((residual[:, :, None] * probe[:, None, :]) * variances / 0.5) ** 2).sum(axis=(1, 2)))
        loo = -numpy.log(softmax(probe @ weights.T + df)[numpy.arange(50), label])
        for name, expected in (('output_deviation', df), ('prediction_deviation', dp), ('parameter_deviation', dm),
                               ('loo_nll', loo), ('nll', -numpy.log(p[numpy.arange(50), label]))):
            check(f'{name} is what the posterior in the log gives', numpy.allclose(log['sensitivity'][name][:], expected,
                  rtol=1e-5, atol=1e-7), (log['sensitivity'][name][:3], expected[:3]))
        check('the probe is 50 training rows with their labels', len(set(rows)) == 50 and (numpy.diff(rows) > 0).all() and
              (log['sensitivity/label'][:] == label).all())
        curve, error = log['rounds/loo_nll'][:], log['rounds/loo_nll_se'][:]
        check('the estimate stands beside the test NLL', (numpy.isfinite(curve) == numpy.isfinite(log['rounds/nll'][:])).all()
              and (numpy.isfinite(curve) == [False, True, False, True, True]).all(), curve)
        check('its last value is the mean of the examples', close([curve[-1], error[-1], log['rounds/probe_nll'][-1]],
              [loo.mean(), loo.std(ddof=1) / 50 ** 0.5, log['sensitivity/nll'][:].mean()], 1e-5), (curve, error))
        check('the thread count changes no bit', all((log['sensitivity'][n][:] == one['sensitivity'][n][:]).all()
              for n in log['sensitivity']) and numpy.array_equal(curve, one['rounds/loo_nll'][:], equal_nan=True))
        check('training is what it is without', (log['rounds/state_hash'][:] == plain['rounds/state_hash'][:]).all() and
              numpy.array_equal(log['rounds/nll_bayes'][:], plain['rounds/nll_bayes'][:], equal_nan=True))
        check('nothing new without the key', 'sensitivity' not in plain and 'loo_nll' not in plain['rounds'])
    point = ('server={algorithm="fedavg"}', 'clients.optimizer={name="sgd",lr=0.1}')
    exits('without a posterior', ivory('run', file, '--set', 'evaluation.sensitivity=9', *point), 2, 'sensitivity', 'posterior',
          'laplace')
    done = ivory('run', file, '--out', 'laplace', '--set', 'evaluation.sensitivity=9', 'evaluation.laplace=true', *point)
    exits('with a Laplace posterior', done, 0)
    with h5py.File(ivory.folder / 'laplace/linear-seed3.h5') as log:
        check('  in the last round alone', (numpy.isfinite(log['rounds/loo_nll'][:]) == [False, False, False, True]).all() and
              numpy.isfinite(log['sensitivity/output_deviation'][:]).all())

def test_label_noise(ivory, file):
    print('-- label noise')
    more = ('evaluation.label_noise_probe=80', 'evaluation.samples=2000', 'data.label_noise=0.3')
    exits('run with evaluation.label_noise_probe', ivory('run', file, '--out', 'noise', '--set', *more), 0)
    ivory('run', file, '--out', 'noise1', '--threads', 1, '--set', *more)
    x, _ = examples(ivory.folder / 'mine.h5', 'train')
    draw = numpy.random.default_rng(7)
    with h5py.File(ivory.folder / 'noise/linear-seed3.h5') as log, h5py.File(ivory.folder / 'noise1/linear-seed3.h5') as one:
        m, s = (log[f'posterior/{name}'][-1].astype(float) for name in ('mean', 'precision'))
        rows, label = log['label_noise/row'][:], log['label_noise/label'][:]
        probe = numpy.hstack([x[rows], numpy.ones((80, 1))])
        theta = m + draw.normal(size=(10000, 15)) / numpy.sqrt(s)
        theta = numpy.vstack([theta, 2 * m - theta])
        drawn = softmax(numpy.einsum('id,tcd->tic', probe, numpy.concatenate([theta[:, :12].reshape(-1, 3, 4),
                                                                              theta[:, 12:, None]], axis=2)))
        eps = softmax(probe @ numpy.hstack([m[:12].reshape(3, 4), m[12:, None]]).T) - drawn.mean(axis=0)
        noise, deviation = log['label_noise/noise'][:], log['label_noise/deviation'][:]
        check('the noise is the mean model less the average', abs(noise - eps).max() < 6 * drawn.std(axis=0).max() / 2000 ** 0.5
              and abs(noise - eps).max() < 0.25 * abs(eps).max(), (noise[:2], eps[:2]))
        check('its deviation is that of a draw', numpy.allclose(deviation, drawn.std(axis=0), rtol=0.1, atol=1e-3))
        check('rows sum to 0', abs(noise.sum(axis=1)).max() < 1e-5)
        flipped = log['label_noise/flipped'][:] == 1
        check('flipped examples are those of the partition', (flipped == numpy.isin(rows, log['partition/flipped_index'][:])).all()
              and 0 < flipped.sum() < 80)
        size, own = abs(noise).sum(axis=1), -noise[numpy.arange(80), label]
        check('the curves are those of the examples', abs(log['rounds/label_noise'][-1] - size.mean()) < 1e-12)
        for name, score in (('label_noise_auroc', size), ('label_noise_label_auroc', own)):
            pairs = score[flipped][:, None] - score[~flipped][None, :]
            check(f'{name} counts pairs', abs(log['rounds'][name][-1] - ((pairs > 0) + 0.5 * (pairs == 0)).mean()) < 1e-12)
        check('the thread count changes no bit', all((log['label_noise'][n][:] == one['label_noise'][n][:]).all()
              for n in log['label_noise']))
    exits('without draws', ivory('run', file, '--set', 'evaluation.label_noise_probe=9', 'evaluation.samples=0'), 2,
          'label_noise_probe', 'samples')


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        ivory = Ivory(str(pathlib.Path(binary).resolve()), pathlib.Path(folder))
        own_data(ivory.folder / 'mine.h5')
        file = ivory.folder / 'small.toml'
        file.write_text(SCENARIO)
        table = test_clients(ivory, file)
        test_without(ivory, file, table)
        test_sensitivity(ivory, file)
        test_label_noise(ivory, file)
        test_refusals(ivory, file)
    print(f'{test_cli.failures} wrong' if test_cli.failures else 'all good')
    return 1 if test_cli.failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
