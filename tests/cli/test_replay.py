#!/usr/bin/env python3
"""ivory replay: test_replay.py IVORY. Skipped (77) like test_cli.py."""
import csv
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import test_cli
from test_cli import Ivory, check, exits, said

import h5py
import numpy

ROUNDS, CLIENTS = 5, 4
# Half of the clients take part in a round.
SCENARIO = '''
name = "small"
seed = 4
rounds = 5
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
epochs = 2
batch = 16
participation = 0.5
[evaluation]
every = 2
samples = 4
[log]
posterior_every = 1
sites = "every"
[[compare]]
name = "bayes"
server = { algorithm = "vb_admm", temperature = 0.1 }
clients.optimizer = { name = "ivon", lr = 0.05, hess_init = 0.1, samples = 2 }
[[compare]]
name = "momentum"
server = { algorithm = "vb_admm", temperature = 0.1 }
clients.optimizer = { name = "ivon", lr = 0.05, hess_init = 0.1, keep_momentum = true }
[[compare]]
name = "full"
server = { algorithm = "vb_admm", posterior = "full", prior_precision = 1 }
clients.optimizer = { name = "von", lr = 0.05 }
[[compare]]
name = "average"
server.algorithm = "fedavgm"
clients.optimizer = { name = "sgd", lr = 0.05, momentum = 0.9 }
[[compare]]
name = "kept"
server.algorithm = "fedadam"
clients = { keep_opt_state = true, optimizer = { name = "adam", lr = 0.01 } }
[[compare]]
name = "variates"
server.algorithm = "scaffold"
clients.optimizer = { name = "sgd", lr = 0.05 }
[[compare]]
name = "dynamic"
server = { algorithm = "feddyn", alpha = 0.1 }
clients.optimizer = { name = "sgd", lr = 0.05 }
[[compare]]
name = "pool"
server = { algorithm = "fedlap_func", share_inputs = 2 }
clients.optimizer = { name = "sgd", lr = 0.05 }
[[compare]]
name = "own"
server.algorithm = "local"
clients.optimizer = { name = "sgd", lr = 0.05 }
'''
# arm -> its state before a round is in the log; clients have a precision
ARMS = {'bayes': (True, True), 'momentum': (False, True), 'full': (False, True), 'average': (True, False),
        'kept': (False, False), 'variates': (False, False), 'dynamic': (False, False),
        'pool': (False, False), 'own': (False, False)}


def log_of(ivory, arm, out='runs'):
    return ivory.folder / out / f'small-{arm}-seed4.h5'


def participation(log):
    with h5py.File(log, 'r') as file:
        return file['clients/participation'][:]


def replay(ivory, log, round_, client, *more, **keywords):
    return ivory('replay', log, '--round', round_, '--client', client, *more, **keywords)


def logged_vectors(log, round_, client):
    with h5py.File(log, 'r') as file:
        row = list(file['clients/site_round'][:]).index(round_)
        return file['clients/mean'][row, client], file['clients/precision'][row, client]


def same_bits(path, log, round_, client):
    """That the file of a replay has the vectors of a log, bit for bit."""
    mean, precision = logged_vectors(log, round_, client)
    with h5py.File(path, 'r') as file:
        found = file['client/mean'][:].astype('float32')
        if 'precision_matrix' in file['client']:
            own = numpy.diagonal(file['client/precision_matrix'][:])
        else:
            own = file['client/precision'][:] if 'precision' in file['client'] else numpy.full(len(found), numpy.nan)
        if not file.attrs['same_bits'] or file.attrs['client'] != client or file.attrs['round'] != round_:
            return False
    return found.tobytes() == mean.tobytes() and numpy.array_equal(own.astype('float32'), precision, equal_nan=True)


def test_visits(ivory, file):
    print('-- every visit of a run, and where its state comes from')
    exits('run', ivory('run', file, '--quiet'), 0)
    exits('run without vectors', ivory('run', file, '--quiet', '--out', 'bare', '--set', 'log.sites=none',
                                       'log.posterior_every=0'), 0)
    for arm, (from_log, precise) in ARMS.items():
        log, bare = log_of(ivory, arm), log_of(ivory, arm, 'bare')
        before = log.read_bytes(), bare.read_bytes()
        visits = [(r + 1, k) for r, k in numpy.argwhere(participation(log) == 1)]
        check(f'{arm}: half of the clients took part', len(visits) == ROUNDS * CLIENTS / 2, visits)
        for round_, k in (visits if arm in ('bayes', 'kept') else visits[::3]):
            for which in (log, bare):
                done = replay(ivory, which, round_, k, '--out', 'visit.h5', '--threads', 2)
                in_log = from_log and which is log and round_ > 1
                source = (f'the log: the server after round {round_ - 1}' if in_log else 'the start' if round_ == 1 else
                          'the start; round 1 trained again' if round_ == 2 else
                          f'the start; rounds 1 to {round_ - 1} trained again')
                good = done.returncode == 0 and f'state before  {source}' in done.stdout
                good = good and ('number of steps, mean' in done.stdout) == (which is log)
                good = good and ('the log lacks what the client sent' in done.stdout) == (which is bare)
                check(f'{arm}: client {k} in round {round_} of {which.parent.name}, from {source}',
                      good and same_bits(ivory.folder / 'visit.h5', log, round_, k), said(done))
        check(f'{arm}: the logs are as they were', (log.read_bytes(), bare.read_bytes()) == before)
        done = replay(ivory, bare, *visits[-1], '--whole-round')
        exits(f'{arm}: the whole round', done, 0, f"server's state after round {visits[-1][0]}")
        check(f'{arm}: a precision', ('precision: mean' in done.stdout) == precise, done.stdout)
    absent = [(r + 1, k) for r, k in numpy.argwhere(participation(log_of(ivory, 'bayes')) == 1)]
    mine = [r for r, k in absent if k == absent[-1][1]]
    missing = next(r for r in range(1, ROUNDS + 1) if r not in mine)
    exits('an absent client', replay(ivory, log_of(ivory, 'bayes'), missing, absent[-1][1]), 2, '[replay]', 'absent',
          f'rounds with a visit of it: {", ".join(map(str, mine))}')


def test_steps(ivory):
    print('-- steps')
    log = log_of(ivory, 'bayes')
    round_, k = next((r + 1, k) for r, k in numpy.argwhere(participation(log) == 1) if r > 2)
    done = replay(ivory, log, round_, k, '--csv', 'steps.csv', '--out', 'steps.h5')
    exits('a table', done, 0, 'gradient norm', 'precision: mean')
    rows = list(csv.DictReader((ivory.folder / 'steps.csv').open()))
    with h5py.File(log, 'r') as file:
        examples = file['partition/train_count'][k]
        loss, steps = (file[f'clients/{name}'][round_ - 1, k] for name in ('train_loss', 'steps'))
        start, mean = file['posterior/mean'][round_ - 2].astype(float), file['clients/mean'][round_ - 1, k].astype(float)
        precision = file['clients/precision'][round_ - 1, k].astype(float)
    an_epoch = -(-examples // 16)
    check('a row for each step', len(rows) == steps == 2 * an_epoch and
          [int(row['epoch']) for row in rows] == [1 + t // an_epoch for t in range(len(rows))], rows)
    check('the losses have the mean that the log has',
          abs(numpy.mean([float(row['loss']) for row in rows]) - loss) < 1e-6 * loss, (rows, loss))
    check('minibatches have all examples', sum(int(row['examples']) for row in rows) == 2 * examples)
    last = {name: float(value) for name, value in rows[-1].items()}
    check('the distance is that of the logged means',
          abs(last['distance'] - numpy.linalg.norm(mean - start)) < 1e-6 * last['distance'], last)
    check('the precisions are those of the log', abs(last['precision_mean'] - precision.mean()) < 1e-6 * precision.mean() and
          last['precision_least'] == precision.min(), last)
    with h5py.File(ivory.folder / 'steps.h5', 'r') as file:
        names = [f'steps/{name}' for name in file['steps'] if name != 'step'] + ['client/mean', 'client/precision']
        check('datasets say what they are', all(file[name].attrs['units'] and file[name].attrs['long_name'] and
              len(file[name].dims[0]) == 1 for name in names), names)
        check('file and CSV have the same', all(numpy.array_equal(file[f'steps/{name}'][:].astype(float),
              [float(row[name]) for row in rows]) for name in rows[0]))
    few = list(csv.DictReader(replay_csv(ivory, log, round_, k, '--every', 3).splitlines()))
    check('--every', [int(row['step']) for row in few] == [t for t in range(1, len(rows) + 1)
                                                           if t % 3 == 0 or t == len(rows)] and
          all(row == rows[int(row['step']) - 1] for row in few), few)
    done = replay(ivory, log, round_, k, '--json')
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    check('--json', done.returncode == 0 and len(lines) == len(rows) + 1 and lines[-1]['differences'] == [] and
          lines[-1]['same'] == ['train loss', 'number of steps', 'mean', 'precision'] and
          all(line['loss'] == float(row['loss']) for line, row in zip(lines, rows)), said(done))
    check('threads change nothing', replay(ivory, log, round_, k, '--threads', 1).stdout ==
          replay(ivory, log, round_, k, '--threads', 3, '--from', 'log').stdout)
    exits('pack', ivory('pack', log, '-o', 'packed.h5'), 0)
    exits('a packed log', replay(ivory, ivory.folder / 'packed.h5', round_, k), 0, 'number of steps, mean, precision')


def replay_csv(ivory, *words):
    replay(ivory, *words, '--csv', 'few.csv')
    return (ivory.folder / 'few.csv').read_text()


def interrupted(ivory, file, arm, out, rounds=20000):
    """The log of a run that was told to stop, and its finished rounds; it has checkpoints."""
    log = log_of(ivory, arm, out)
    process = subprocess.Popen([ivory.binary, 'run', str(file), '--only', arm, '--out', out, '--quiet', '--set',
                                f'rounds={rounds}', 'log.posterior_every=0', 'log.sites=last', 'evaluation.every=1000',
                                'log.checkpoint_every=3'], cwd=ivory.folder, env=ivory.environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and not (log.exists() and test_cli.root_of(log)[1] > 12):
        time.sleep(0.005)
    return log, process


def test_checkpoints(ivory, file):
    print('-- runs that go on, and checkpoints')
    for arm in ('momentum', 'variates', 'kept'):
        log, process = interrupted(ivory, file, arm, 'stopped')
        live = participation(log)
        round_, k = next((r + 1, k) for r, k in numpy.argwhere(live == 1) if r == 6)
        done = replay(ivory, log, round_, k, '--from', 'start')
        check(f'{arm}: a log that is being written', process.poll() is None and done.returncode == 0 and
              'the start; rounds 1 to 6 trained again' in done.stdout, said(done))
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        complete = test_cli.root_of(log)[1]
        check(f'{arm}: interrupted', 12 < complete < 20000 and len(list(log.parent.glob(f'{log.name}.checkpoint-?'))) == 2)
        files = {path.name: path.read_bytes() for path in log.parent.iterdir()}
        k = next(k for k in range(CLIENTS) if participation(log)[complete - 1, k] == 1)
        # One checkpoint is of the last round, the other of the last multiple of 3 before it.
        nearest = (complete - 1) // 3 * 3
        done = replay(ivory, log, complete, k, '--whole-round')
        exits(f'{arm}: from a checkpoint', done, 0, f'the checkpoint after round {nearest}', "server's state after round")
        exits(f'{arm}: before both', replay(ivory, log, 2, next(k for k in range(CLIENTS) if live[1, k] == 1)), 0,
              'the start; round 1 trained again')
        exits(f'{arm}: no checkpoint that early', replay(ivory, log, 2, next(k for k in range(CLIENTS) if live[1, k] == 1),
              '--from', 'checkpoint'), 2, '[replay]', 'checkpoint')
        exits(f'{arm}: a round to come', replay(ivory, log, complete + 1, k), 2, f'1..{complete}', '--resume')
        check(f'{arm}: nothing is changed', files == {path.name: path.read_bytes() for path in log.parent.iterdir()})
    # A checkpoint of another run.
    log, process = interrupted(ivory, file, 'own', 'another')
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    checkpoints = sorted(log.parent.glob(f'{log.name}.checkpoint-?'))
    exits('one run with seed 5', ivory('run', file, '--only', 'own', '--seed', 5, '--quiet', '--out', 'another', '--set',
                                       'rounds=4000', 'evaluation.every=1000', 'log.sites=none', 'log.posterior_every=0'), 0)
    theirs = log.parent / 'small-own-seed5.h5'
    for path in checkpoints:
        shutil.copy(path, f'{theirs}.checkpoint-{path.name[-1]}')
    k = next(k for k in range(CLIENTS) if participation(theirs)[3999, k] == 1)
    exits('the checkpoint of another run', replay(ivory, theirs, 4000, k), 1, 'checkpoint', '--from start')


def changed(log, path, change):
    shutil.copy(log, path)
    with h5py.File(path, 'r+') as file:
        change(file)
    return path


def test_refusals(ivory, file):
    print('-- refusals')
    log, bare = log_of(ivory, 'bayes'), log_of(ivory, 'bayes', 'bare')
    round_, k = next((r + 1, k) for r, k in numpy.argwhere(participation(log) == 1) if r > 2)
    copy = ivory.folder / 'copy.h5'
    exits('no such round', replay(ivory, log, ROUNDS + 1, k), 2, '[replay] --round', f'1..{ROUNDS}')
    exits('round 0', replay(ivory, log, 0, k), 2, '--round')
    exits('no such client', replay(ivory, log, 1, CLIENTS), 2, '[replay] --client', f'0..{CLIENTS - 1}')
    exits('no --client', ivory('replay', log, '--round', 1), 2, '--client')
    exits('no such log', replay(ivory, 'nowhere.h5', 1, 1), 2, 'nowhere.h5')
    exits('a file that is no log', replay(ivory, file, 1, 1), 2, 'small.toml')
    exits('no state in the log', replay(ivory, bare, round_, k, '--from', 'log'), 2, '[replay]', 'log.posterior_every')
    exits('a state that no log has', replay(ivory, log_of(ivory, 'variates'), *next(
        (r + 1, k) for r, k in numpy.argwhere(participation(log_of(ivory, 'variates')) == 1) if r > 0), '--from', 'log'),
        2, '[replay]', 'remembers')
    exits('--whole-round from the log', replay(ivory, log, round_, k, '--from', 'log', '--whole-round'), 2, '--whole-round')
    exits('--out of something else', replay(ivory, log, round_, k, '--out', log), 2, '[replay]', '--out')

    def attribute(name, value):
        return changed(log, copy, lambda f: f.attrs.__setitem__(name, value))

    exits('another format', replay(ivory, attribute('format_version', 99), round_, k), 2, 'format 99')
    exits('other data', replay(ivory, attribute('data_checksum', numpy.bytes_(b'0' * 16)), round_, k), 2, '[replay]',
          'checksum 0000000000000000')
    exits('another partition', replay(ivory, attribute('partition_hash', numpy.bytes_(b'0' * 16)), round_, k), 2,
          '[replay]', 'partition (hash)')
    exits('another start', replay(ivory, attribute('start_hash', numpy.bytes_(b'0' * 16)), round_, k), 2, '[replay]',
          'start weights')
    elsewhere = attribute('device', numpy.bytes_(b'cpu (other)'))
    exits('another device', replay(ivory, elsewhere, round_, k), 2, '[replay]', 'kind of device', '--any-device')
    exits('another device, on purpose', replay(ivory, elsewhere, round_, k, '--any-device'), 0, 'bits may differ',
          'the same bits as in the log: train loss, number of steps, mean, precision')
    exits('another version', replay(ivory, attribute('ivory_version', numpy.bytes_(b'0.0.9')), round_, k), 0, '0.0.9')

    def flip(name, *place):
        def change(f):
            values = f[name][:]
            values[place] = values[place] + 1
            f[name][:] = values
        return change

    exits('a damaged server', replay(ivory, changed(log, copy, flip('posterior/mean', round_ - 2, 0)), round_, k), 2,
          '[replay]', 'damaged', '--from start')
    exits('not read from the start', replay(ivory, copy, round_, k, '--from', 'start'), 0, 'mean, precision')
    exits('another state on the way', replay(ivory, changed(log, copy, flip('rounds/state_hash', 1)), round_, k, '--from',
                                             'start'), 1, '[replay]', 'in round 2', '--any-device')
    exits('and on purpose', replay(ivory, copy, round_, k, '--from', 'start', '--any-device'), 0, "another state", ': 1')
    done = replay(ivory, changed(log, copy, flip('clients/mean', round_ - 1, k, 2)), round_, k)
    exits('another result', done, 1, '[replay]', 'must have the bits that were logged')
    check('and says what', 'other than in the log: the mean: 1 of ' in done.stdout, said(done))
    exits('another loss', replay(ivory, changed(log, copy, flip('clients/train_loss', round_ - 1, k)), round_, k), 1)
    copy.write_bytes(log.read_bytes()[:len(log.read_bytes()) // 3])
    done = replay(ivory, copy, round_, k)
    check('a log that was cut off', done.returncode in (1, 2) and done.stderr.startswith('ivory: '), said(done))


def test_missing_data(ivory):
    print('-- data that are not there')
    draw = numpy.random.default_rng(5)
    mine = ivory.folder / 'mine.h5'
    with h5py.File(mine, 'w') as data:
        for group, n in (('train', 80), ('test', 20)):
            data[f'{group}/x'] = draw.normal(size=(n, 4)).astype('float32')
            data[f'{group}/y'] = draw.integers(3, size=n).astype('int32')
    own = ivory.folder / 'own.toml'
    blobs = SCENARIO[SCENARIO.index('[data]'):SCENARIO.index('[partition]')]
    own.write_text(SCENARIO.replace(blobs, '[data]\nkind = "hdf5"\nfile = "mine.h5"\ntrain_group = "train"\n'
                                           'test_group = "test"\n').replace('"small"', '"mine"'))
    exits('run', ivory('run', own, '--only', 'bayes', '--quiet'), 0)
    log = ivory.folder / 'runs/mine-bayes-seed4.h5'
    k = int(numpy.argmax(participation(log)[2] == 1))
    exits('with the data', replay(ivory, log, 3, k), 0, 'mean, precision')
    mine.rename(ivory.folder / 'away.h5')
    exits('without them', replay(ivory, log, 3, k), 2, 'mine.h5')


def test_refused_visits(ivory, file):
    print('-- refused visits')
    exits('run', ivory('run', file, '--only', 'average', '--quiet', '--out', 'wild', '--set', 'rounds=3',
                       'clients.optimizer.lr=1e30'), 1)
    log = log_of(ivory, 'average', 'wild')
    round_, k = next((r + 1, k) for r, k in numpy.argwhere(participation(log) == 2))
    done = replay(ivory, log, round_, k, '--out', 'wild.h5')
    exits('a refused visit', done, 0, 'refused: the server does not take', 'the same bits as in the log: train loss')
    with h5py.File(ivory.folder / 'wild.h5', 'r') as file_:
        check('and its file says so', file_.attrs['refused'] == 1 and file_.attrs['same_bits'] == 1)


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        ivory = Ivory(str(pathlib.Path(binary).resolve()), pathlib.Path(folder))
        file = ivory.folder / 'small.toml'
        file.write_text(SCENARIO)
        test_visits(ivory, file)
        test_steps(ivory)
        test_refusals(ivory, file)
        test_missing_data(ivory)
        test_refused_visits(ivory, file)
        test_checkpoints(ivory, file)
    print(f'{test_cli.failures} wrong' if test_cli.failures else 'all good')
    return 1 if test_cli.failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
