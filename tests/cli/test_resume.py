#!/usr/bin/env python3
"""Interrupts runs and goes on with them: test_resume.py IVORY [KILL_AT_WRITE [EVERY]]. Exit 77 (skipped) without h5py.

With KILL_AT_WRITE preloaded the program is killed at its first, EVERY + first ... write (default: at each); whatever is left must
open, hold whole rounds, and become the log of a run that was never interrupted.
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

try:
    import h5py
    import numpy
except ImportError:
    print('skipped: h5py is not installed, and the logs cannot be checked without it')
    sys.exit(77)

# Half of the clients take part, and keep momentum: what goes from round to round is more than the server's Gaussian.
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
batch = 16
participation = 0.5
[evaluation]
every = 2
samples = 4
[log]
posterior_every = 1
sites = "every"
checkpoint_every = 2
[[compare]]
name = "bayes"
server = { algorithm = "vb_admm", temperature = 0.1 }
clients.optimizer = { name = "ivon", lr = 0.05, hess_init = 0.1, keep_momentum = true }
[[compare]]
name = "variates"
server.algorithm = "scaffold"
clients.optimizer = { name = "sgd", lr = 0.05 }
[[compare]]
name = "moments"
server.algorithm = "fedadam"
clients = { keep_opt_state = true, optimizer = { name = "adam", lr = 0.01 } }
[[compare]]
name = "own"
server.algorithm = "local"
clients.optimizer = { name = "sgd", lr = 0.05 }
'''
ARMS = ('bayes', 'variates', 'moments', 'own')
CHECKPOINT_EVERY = 2

ivory = sys.argv[1]
shim = sys.argv[2] if len(sys.argv) > 2 else None
step = int(sys.argv[3]) if len(sys.argv) > 3 else 1
failures = []


def check(what, good):
    if not good:
        failures.append(what)
        print('FAILED:', what, flush=True)


def run(*args, at=None, count=None, cwd=None, timeout=120):
    environment = dict(os.environ)
    if at is not None or count is not None:
        environment['LD_PRELOAD'] = shim
    if at is not None:
        environment['IVORY_KILL_AT'] = str(at)
    if count is not None:
        environment['IVORY_COUNT_WRITES'] = str(count)
    return subprocess.run([ivory, *map(str, args)], capture_output=True, text=True, env=environment, cwd=cwd,
                          timeout=timeout)


def contents(path, rounds=None):
    """Every dataset but the wall times; with `rounds` only what must be whole after as many."""
    found = {}

    def add(name, thing):
        if isinstance(thing, h5py.Dataset) and not name.startswith('rounds/seconds'):
            if rounds is None:
                found[name] = thing[()]
            elif name.startswith('rounds/') and thing.ndim and thing.shape[0] == log.attrs['rounds']:
                found[name] = thing[:rounds]
            elif name in ('posterior/mean', 'posterior/precision', 'clients/site_mean', 'clients/mean'):
                found[name] = thing[:rounds]  # a row for each round here

    with h5py.File(path) as log:
        log.visititems(add)
    return found


def differing(one, other):
    if one.keys() != other.keys():
        return sorted(one.keys() ^ other.keys())
    return [name for name in one
            if not numpy.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == 'f')]


def check_equal(what, path, reference):
    different = differing(contents(path), reference)
    check(f'{what}: the log is that of a run without interruption, but {different}', not different)


def complete(path):
    with h5py.File(path) as log:
        return int(log['rounds_complete'][()])


def killed_at(n, scenario, folder, reference):
    """Kills a run at write n; True when it got that far."""
    out = folder / f'k{n}'
    log = out / 'small-bayes-seed4.h5'
    killed = run('run', scenario, '--only', 'bayes', '--out', out, '--threads', 1, '--quiet', at=n)
    check(f'write {n}: killed, not {killed.returncode}', killed.returncode == -signal.SIGKILL)
    if log.exists():
        rounds = complete(log)
        different = differing(contents(log, rounds), {name: rows[:rounds] for name, rows in reference['rows'].items()})
        check(f'write {n}: whole rounds, but {different}', not different)
        resumed = run('run', '--resume', log, '--threads', 1)
        check(f'write {n}: resumes: {resumed.stderr}', resumed.returncode == 0)
        note = re.search(r'goes on after round (\d+)|has all its rounds', resumed.stdout + resumed.stderr)
        check(f'write {n}: few rounds again, got {resumed.stdout}',
              note and rounds - int(note[1] or 5) <= CHECKPOINT_EVERY)
        check_equal(f'write {n}', log, reference['all'])
        left = sorted(path.name for path in out.iterdir())
        check(f'write {n}: nothing but the log is left, got {left}', left == [log.name])
    shutil.rmtree(out)
    return log


def kills(folder, scenario):
    whole = folder / 'whole'
    count = folder / 'count'
    run('run', scenario, '--only', 'bayes', '--out', whole, '--threads', 1, '--quiet', count=count)
    log = whole / 'small-bayes-seed4.h5'
    reference = {'all': contents(log), 'rows': contents(log, 5)}
    writes = int(count.read_text())
    check('a run has many writes', writes > 300)
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda n: killed_at(n, scenario, folder, reference), range(1, writes + 1, step)))
    print(f'killed at {len(range(1, writes + 1, step))} of {writes} writes')


def interrupted(folder, scenario, arm, number, code):
    """Starts a long run, sends it the signal, and goes on twice."""
    out, rounds = folder / f'signal-{arm}-{number}', 4000
    log = out / f'small-{arm}-seed4.h5'
    args = ['run', scenario, '--only', arm, '--out', out, '--threads', '2', '--set', f'rounds={rounds}',
            'log.posterior_every=0', 'log.sites=last', 'evaluation.every=1000']
    process = subprocess.Popen([ivory, *map(str, args), '--quiet'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not (log.exists() and complete(log) > 5):
        time.sleep(0.005)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    check(f'{arm}: exit code {code}, not {process.returncode}', process.returncode == code)
    command = re.search(r'go on with: ivory run --resume (\S+)', stderr)
    check(f'{arm}: says how to go on, got {stderr}', command and command[1] == str(log))
    done = complete(log)
    check(f'{arm}: interrupted in the middle, in round {done}', 5 < done < rounds)
    # With the scenario beside it, and all keys the same.
    resumed = run(*args, '--resume', log)
    check(f'{arm}: goes on where it stopped: {resumed.stdout[:300]} {resumed.stderr}',
          resumed.returncode == 0 and f'goes on after round {done}\n' in resumed.stdout)
    whole = folder / f'whole-{arm}-{number}'
    run('run', *args[1:5], whole, *args[6:])
    check_equal(f'{arm}, signal {number}', log, contents(whole / log.name))


def stopped(folder, scenario, name):
    """A log that stopped after round 4 with its checkpoint: killed at the first write of round 5's rows."""
    out = folder / name
    log = out / 'small-bayes-seed4.h5'
    for n in range(560, 300, -5):
        run('run', scenario, '--only', 'bayes', '--out', out, '--threads', 1, '--quiet', at=n)
        if log.exists() and complete(log) == 4 and len(list(out.glob('*.checkpoint-?'))) == 2:
            return log
        shutil.rmtree(out, ignore_errors=True)
    check('no write to stop a run at after round 4', False)
    return log


def refusals(folder, scenario):
    log = stopped(folder, scenario, 'refused')
    before = log.read_bytes()

    def refused(what, text, *args):
        result = run('run', *args)
        check(f'{what}: refused with the reason, got {result.returncode} {result.stderr}',
              result.returncode == 2 and text in result.stderr and '[resume]' in result.stderr)
        check(f'{what}: the log is untouched', log.read_bytes() == before)

    refused('another key', 'clients.batch: 16 -> 8', scenario, '--resume', log, '--set', 'clients.batch=8')
    refused('another seed', 'seed: 4 -> 5', scenario, '--resume', log, '--seed', 5)
    refused('without its arm', 'arm', scenario, '--resume', log, '--only', 'own')
    refused('keys without a file', '--set', '--resume', log, '--set', 'clients.batch=8')
    refused('other data', 'data.train: 120 -> 100', scenario, '--resume', log, '--set', 'data.train=100')
    with h5py.File(log, 'r+') as file:
        other = file.attrs['data_checksum']
        file.attrs['data_checksum'] = numpy.bytes_(b'0' * len(other))
    before = log.read_bytes()
    refused('the data have changed since', 'data (checksum)', '--resume', log)
    for attribute, what in (('partition_hash', 'partition'), ('start_hash', 'start weights'),
                            ('ivory_version', 'version of ivory'), ('device', 'kind of device')):
        with h5py.File(log, 'r+') as file:
            file.attrs['data_checksum'] = other
            value = file.attrs[attribute]
            file.attrs[attribute] = numpy.bytes_(b'0' * len(value))
        before = log.read_bytes()
        refused(attribute, what, '--resume', log)
        with h5py.File(log, 'r+') as file:
            file.attrs[attribute] = value
    before = log.read_bytes()
    checkpoint = max(log.parent.glob('*.checkpoint-?'), key=lambda path: path.stat().st_mtime)
    result = run('run', '--resume', log.parent / 'nothing.h5')
    check('no such log', result.returncode == 2)
    whole = folder / 'count-whole' / log.name
    run('run', scenario, '--only', 'bayes', '--out', whole.parent, '--quiet')
    before = whole.read_bytes()
    finished = run('run', '--resume', whole)
    check('a finished log stays as it is',
          finished.returncode == 0 and 'has all its rounds' in finished.stdout and whole.read_bytes() == before)
    # A damaged checkpoint: the other one stands, and more rounds are computed again.
    data = bytearray(checkpoint.read_bytes())
    data[len(data) // 2] ^= 1
    checkpoint.write_bytes(data)
    resumed = run('run', '--resume', log)
    check(f'the older checkpoint stands in: {resumed.stdout} {resumed.stderr}',
          resumed.returncode == 0 and 'goes on after round 2; computes rounds 3 to 4 again' in resumed.stdout)
    check_equal('a damaged checkpoint', log, contents(whole))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def finished_elsewhere(folder, scenario):
    """A finished log that another run shall go on in stays where it is."""
    out = folder / 'finished'
    log = out / 'small-bayes-seed4.h5'
    run('run', scenario, '--only', 'bayes', '--out', out, '--quiet')
    before = log.read_bytes()
    for rounds in (4, 9):
        result = run('run', scenario, '--only', 'bayes', '--resume', log, '--set', f'rounds={rounds}')
        check(f'a finished log of other keys: {result.returncode} {result.stdout} {result.stderr}', result.returncode == 2 and
              f'rounds: 5 -> {rounds}' in result.stderr and 'it is now' not in result.stdout + result.stderr)
    result = run('run', scenario, '--only', 'bayes', '--resume', log)
    check(f'a finished log of the same keys: {result.stderr}', result.returncode == 0 and 'has all its rounds' in result.stdout)
    check(f'nothing was moved, got {names(out)}', names(out) == [log.name] and log.read_bytes() == before)


def kept(folder, scenario):
    """What stopped half-way makes way for a trial of the same name, and can still be gone on with."""
    whole = contents(folder / 'count-whole' / 'small-bayes-seed4.h5')
    trial = ('--only', 'bayes', '--set', 'clients.batch=8')
    for what, args, settings in (('run', ('run', scenario, *trial), 'other'), ('run-again', ('run', scenario, *trial[:2]), 'these'),
                                 ('compare', ('compare', scenario, *trial, '--seeds', 1), 'other')):
        log = stopped(folder, scenario, what)
        result = run(*args, '--out', log.parent)
        said = result.stdout + result.stderr
        moved = log.with_name(log.name + '.1')
        check(f'{what}: says what it found: {said}', result.returncode == 0 and f'interrupted run of {settings} settings' in said and
              '4 of 5 rounds' in said and f'ivory run --resume {moved}' in said)
        check(f'{what}: its checkpoints go along: {names(log.parent)}', names(log.parent) ==
              [log.name, moved.name, *(f'{moved.name}.checkpoint-{which}' for which in 'ab')])
        resumed = run('run', '--resume', moved)
        check(f'{what}: goes on: {resumed.stdout}', resumed.returncode == 0 and 'goes on after round 4\n' in resumed.stdout)
        check_equal(f'{what}: what was moved', moved, whole)
        check(f'{what}: nothing else is left, got {names(log.parent)}', names(log.parent) == [log.name, moved.name])
    # compare --fresh is told to begin anew, also with other settings.
    log = stopped(folder, scenario, 'replaced')
    result = run('compare', scenario, *trial, '--seeds', 1, '--fresh', '--out', log.parent)
    check(f'--fresh keeps nothing, got {names(log.parent)}', result.returncode == 0 and names(log.parent) == [log.name])
    # A checkpoint of another program cannot be gone on with here, but there.
    log = stopped(folder, scenario, 'foreign')
    with h5py.File(log, 'r+') as file:
        file.attrs['ivory_version'] = numpy.bytes_(b'0' * len(file.attrs['ivory_version']))
    result = run('compare', scenario, '--only', 'bayes', '--seeds', 1, '--out', log.parent)
    check(f'another program began it: {result.stdout}', result.returncode == 0 and 'begins anew: [resume]' in result.stdout and
          'compare and sweep with --fresh' in result.stdout and len(names(log.parent)) == 4)
    check_equal('another program began it', log, whole)


def unwritable(folder, scenario):
    """No place for a checkpoint is no reason to lose a run."""
    out = folder / 'unwritable'
    out.mkdir()
    for which in 'ab':
        (out / f'small-bayes-seed4.h5.checkpoint-{which}.new').mkdir()
    result = run('run', scenario, '--only', 'bayes', '--out', out)
    check(f'a run without checkpoints: {result.stderr}',
          result.returncode == 0 and 'a checkpoint must be writable' in result.stdout + result.stderr)
    check('and has all rounds', complete(out / 'small-bayes-seed4.h5') == 5)


def compares(folder, scenario):
    """compare goes on with what was interrupted, unless --fresh."""
    log = stopped(folder, scenario, 'compared')
    whole = folder / 'count-whole' / log.name
    result = run('compare', scenario, '--only', 'bayes', '--seeds', 1, '--out', log.parent)
    check(f'compare goes on: {result.stdout}', result.returncode == 0 and 'goes on after round 4' in result.stdout)
    check_equal('compare', log, contents(whole))
    log = stopped(folder, scenario, 'fresh')
    result = run('compare', scenario, '--only', 'bayes', '--seeds', 1, '--out', log.parent, '--fresh')
    check('compare --fresh begins anew', result.returncode == 0 and 'goes on' not in result.stdout)
    check_equal('compare --fresh', log, contents(whole))


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        scenario = folder / 'small.toml'
        scenario.write_text(SCENARIO)
        if shim:
            kills(folder, scenario)
            refusals(folder, scenario)
            compares(folder, scenario)
            kept(folder, scenario)
        else:
            print('skipped: kills at a write, which need a build without sanitizers')
        for arm, number in zip(ARMS, (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGINT)):
            interrupted(folder, scenario, arm, number, 128 + number)
        unwritable(folder, scenario)
        finished_elsewhere(folder, scenario)
    print('all good' if not failures else f'{len(failures)} failures')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
