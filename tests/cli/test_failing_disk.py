#!/usr/bin/env python3
"""Read-only folders and full disks: test_failing_disk.py IVORY FAILING_DISK. Exit 77 (skipped) without h5py or the preloaded object.

A run outlives checkpoints that cannot be written, says so once, and resumes from an older one.
"""
import errno
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy
except ImportError:
    print('skipped: h5py is not installed, and the logs cannot be checked without it')
    sys.exit(77)
if len(sys.argv) < 3:
    print('skipped: a disk can be made to fail only in a build without sanitizers')
    sys.exit(77)

SCENARIO = '''
name = "small"
seed = 4
rounds = 6
[data]
kind = "blobs"
classes = 3
features = 4
train = 60
test = 20
[partition]
kind = "dirichlet"
[model]
kind = "linear"
[clients]
count = 3
batch = 16
[log]
posterior_every = 1
checkpoint_every = 1
[clients.optimizer]
name = "ivon"
lr = 0.05
hess_init = 0.1
[server]
algorithm = "vb_admm"
temperature = 0.1
'''
LOG = 'small-seed4.h5'
ivory, shim = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:3])
failures = []


def check(what, good):
    print('ok   ' if good else 'WRONG', what)
    if not good:
        failures.append(what)


def run(folder, *words, **fail):
    """`fail`: path, how, start, kill_at of failing_disk.cpp."""
    environment = dict(os.environ)
    if fail:
        environment |= {'LD_PRELOAD': shim, 'IVORY_FAIL_PATH': fail['path'], 'IVORY_FAIL_WITH': str(fail['how']),
                        'IVORY_FAIL_FROM': str(fail.get('start', 1)), 'IVORY_FAIL_KILL_AT': str(fail.get('kill_at', 0))}
    device = ('--device', 'cpu') if words[0] == 'run' else ()  # a GPU build without a GPU says so
    return subprocess.run([ivory, *map(str, words), *device], cwd=folder, capture_output=True, text=True, env=environment, timeout=120)


def contents(path):
    found = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith('rounds/seconds'):
            found[name] = item[()]
    with h5py.File(path) as log:
        log.visititems(add)
    return found


def equal(path, whole):
    one, other = contents(path), contents(whole)
    return one.keys() == other.keys() and all(
        numpy.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == 'f') for name in one)


def goes_on(folder, whole):
    for what, how, text in (('a read-only folder', errno.EROFS, 'Read-only file system'),
                            ('a folder without permission', errno.EACCES, 'Permission denied'),
                            ('a full disk', 'full', 'No space left on device')):
        out = folder / what.replace(' ', '-')
        done = run(folder, 'run', 'small.toml', '--out', out, path='.checkpoint-', how=how, start=2)
        said = done.stdout + done.stderr
        check(f'{what}: the run goes on', done.returncode == 0 and equal(out / LOG, whole))
        check(f'{what}: said once, not {said.count("a checkpoint must be writable")} times',
              said.count('a checkpoint must be writable') == 1 and text in said and '.checkpoint-' in said)
        left = sorted(path.name for path in out.iterdir())
        check(f'{what}: nothing but the log is left, got {left}', left == [LOG])


def stays_usable(folder, whole):
    """Checkpoints of rounds 1 and 2 are good, those of 3 and 4 are not, and the program is killed after round 5."""
    for what, how in (('read-only', errno.EROFS), ('full', 'full')):
        out = folder / f'killed-{what}'
        killed = run(folder, 'run', 'small.toml', '--out', out, '--quiet', path='.checkpoint-', how=how, start=3, kill_at=5)
        check(f'{what}: killed', killed.returncode == -signal.SIGKILL)
        names = sorted(path.name for path in out.iterdir())
        check(f'{what}: the older checkpoints stay, got {names}',
              names == [LOG, f'{LOG}.checkpoint-a', f'{LOG}.checkpoint-b'])
        done = run(folder, 'run', '--resume', out / LOG)
        check(f'{what}: goes on after round 2: {done.stdout[:200]} {done.stderr}',
              done.returncode == 0 and 'goes on after round 2; computes rounds 3 to 5 again' in done.stdout)
        check(f'{what}: to the log of a run that nothing happened to', equal(out / LOG, whole))


def resumes_not(folder):
    """A log that cannot be written is said to be one, and stays as it is."""
    out = folder / 'kept'
    run(folder, 'run', 'small.toml', '--out', out, '--quiet', path='.checkpoint-', how='full', start=9, kill_at=4)
    log = out / LOG
    before = log.read_bytes()
    for how, text in ((errno.EROFS, 'Read-only file system'), (errno.EACCES, 'Permission denied')):
        done = run(folder, 'run', '--resume', log, path=LOG, how=how)
        lines = done.stderr.strip().split('\n')
        check(f'resuming on a read-only disk: {done.returncode} {done.stderr}',
              done.returncode == 1 and len(lines) == 1 and text in lines[0] and str(log) in lines[0] and
              'a log to go on with must be writable' in lines[0] and 'copy it with its checkpoints' in lines[0])
        check('and the log stays as it is', log.read_bytes() == before)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / 'small.toml').write_text(SCENARIO)
        run(folder, 'run', 'small.toml', '--out', 'whole', '--quiet')
        goes_on(folder, folder / 'whole' / LOG)
        stays_usable(folder, folder / 'whole' / LOG)
        resumes_not(folder)
    print('all good' if not failures else f'{len(failures)} failures')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
