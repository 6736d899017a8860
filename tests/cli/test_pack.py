#!/usr/bin/env python3
"""Packs and follows logs: test_pack.py IVORY SOURCE_DIR. Exit 77 (skipped) without h5py."""
import pathlib
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

ivory, source = sys.argv[1], pathlib.Path(sys.argv[2])
failures = []


def check(what, good):
    print('ok   ' if good else 'WRONG', what)
    if not good:
        failures.append(what)


def run(*args):
    return subprocess.run([ivory, *map(str, args)], capture_output=True, text=True, timeout=900)


def attributes(thing):
    """Without those that refer to places in the file."""
    return {name: value for name, value in thing.attrs.items() if name not in ('DIMENSION_LIST', 'REFERENCE_LIST')}


def equal(one, other):
    return numpy.array_equal(one, other, equal_nan=numpy.asarray(one).dtype.kind == 'f')


def differing(one, other):
    """Names of what the second file does not have as the first does, and of the datasets that it has in chunks."""
    different, chunked = [], []
    with h5py.File(one) as a, h5py.File(other) as b:
        names = ['/']
        a.visit(names.append)
        for name in names:
            if name not in b:
                different.append(name)
                continue
            left, right = a[name], b[name]
            if attributes(left).keys() != attributes(right).keys() or any(
                    not equal(value, right.attrs[key]) for key, value in attributes(left).items()):
                different.append(name + ' (attributes)')
            if not isinstance(left, h5py.Dataset):
                continue
            if left.dtype != right.dtype or left.shape != right.shape or not equal(left[()], right[()]):
                different.append(name)
            if [list(axis.keys()) for axis in left.dims] != [list(axis.keys()) for axis in right.dims]:
                different.append(name + ' (scales)')
            if right.chunks:
                chunked.append(name)
                check(f'{name}: shuffled and deflated', right.shuffle and right.compression == 'gzip')
        extra = []
        b.visit(extra.append)
        different += sorted(set(extra) - set(names))
    return different, chunked


def packs(folder, scenario):
    run('run', scenario, '--only', 'vb-admm', '--out', folder, '--quiet', '--set', 'log.sites=every', 'rounds=12')
    log = folder / 'quickstart-vb-admm-seed1.h5'
    before, table = log.read_bytes(), run('compare', '--from', log).stdout
    packed = folder / 'packed.h5'
    result = run('pack', log, '-o', packed)
    check(f'pack -o: {result.stderr}', result.returncode == 0)
    check('the log stays', log.read_bytes() == before)
    different, chunked = differing(log, packed)
    check(f'the same contents, but {different}', not different)
    check(f'the large ones in chunks: {chunked}', 'clients/site_mean' in chunked and 'rounds/accuracy' not in chunked)
    check('smaller', packed.stat().st_size < 0.9 * len(before))
    check('compare reads it', run('compare', '--from', packed).stdout == table)
    check('inspect reads it', run('inspect', packed).returncode == 0)
    result = run('pack', log)
    check('in place', result.returncode == 0 and log.read_bytes() == packed.read_bytes())
    again = run('pack', log)
    check(f'a packed log may be packed again: {again.stderr}', again.returncode == 0 and not differing(log, packed)[0])
    check('nothing else is left', sorted(path.name for path in folder.iterdir()) == sorted([log.name, packed.name]))
    resumed = run('run', '--resume', log)
    check(f'a packed log needs no going on: {resumed.stderr}', resumed.returncode == 0 and 'has all its rounds' in resumed.stdout)


def refuses(folder, scenario):
    other = folder / 'other.txt'
    other.write_text('not a log')
    for args, code, text in ((('pack', other), 2, 'HDF5'), (('pack', folder / 'none.h5'), 2, 'none.h5'),
                             (('pack', 'a.h5', 'b.h5', '-o', 'c.h5'), 2, '-o')):
        result = run(*args)
        check(f'{args[1]}: exit {code}, says {text}', result.returncode == code and text in result.stderr)
    log = folder / 'quickstart-vb-admm-seed1.h5'
    result = run('pack', log, '-o', other)
    check('nothing but a log is replaced', result.returncode == 1 and other.read_text() == 'not a log')
    result = run('pack', log, '-o', folder / 'no' / 'folder.h5')
    check('a folder that is not there', result.returncode == 1 and 'folder.h5' in result.stderr)
    with h5py.File(log, 'r+') as file:
        file['rounds_complete'][()] = 11
    before = log.read_bytes()
    result = run('pack', log)
    check('an unfinished log', result.returncode == 2 and 'finished' in result.stderr and log.read_bytes() == before)


def follows(folder, scenario):
    log = folder / 'live' / 'quickstart-vb-admm-seed1.h5'
    rounds = 400
    process = subprocess.Popen([ivory, 'run', scenario, '--only', 'vb-admm', '--out', str(log.parent), '--quiet', '--set',
                                f'rounds={rounds}', 'evaluation.every=2'], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not log.exists() and time.monotonic() < end:
        time.sleep(0.01)
    follower = run('inspect', '--follow', log)
    process.wait(timeout=60)
    lines = follower.stdout.splitlines()
    check(f'a line for each round, got {len(lines)}',
          follower.returncode == 0 and [line.split('/')[0].split()[-1] for line in lines] == [str(r + 1) for r in range(rounds)])
    with h5py.File(log) as file:
        accuracy = 100 * file['rounds/accuracy'][-1]
    check(f'with the numbers of the log: {lines[-1:]}', lines and f'accuracy [%] {accuracy:.2f}' in lines[-1])
    result = run('inspect', '--follow', log, log)
    check('one log at a time', result.returncode == 2)


def main():
    scenario = source / 'scenarios' / 'quickstart.toml'
    with tempfile.TemporaryDirectory() as folder:
        packs(pathlib.Path(folder), scenario)
        refuses(pathlib.Path(folder), scenario)
        follows(pathlib.Path(folder), scenario)
    print('all good' if not failures else f'{len(failures)} wrong')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
