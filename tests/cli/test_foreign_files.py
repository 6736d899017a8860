#!/usr/bin/env python3
"""Damaged, foreign and hostile files: test_foreign_files.py IVORY [KILL_AT_WRITE [COUNT [SEED]]]. Exit 77 (skipped) without h5py.

Each reader of the program gets COUNT files with random damage to their bytes (cut, flipped, overwritten) and COUNT whole HDF5 files
with something wrong in them (mutations.py); COUNT 0: every kind of wrong for every object. The program must end by itself within
the limits of time and memory, with exit code 0, or with 1 or 2 and one line that names the file. KILL_AT_WRITE makes a log with
checkpoints, for resuming.
"""
import collections
import concurrent.futures
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

try:
    import h5py
    import numpy
except ImportError:
    print('skipped: h5py is not installed, and the logs cannot be made without it')
    sys.exit(77)

import mutations

SCENARIO = '''
name = "small"
seed = 4
rounds = 3
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
[evaluation]
samples = 2
curve = true
clients_every = 1
[log]
posterior_every = 1
sites = "every"
checkpoint_every = 1
[clients.optimizer]
name = "ivon"
lr = 0.05
hess_init = 0.1
[server]
algorithm = "vb_admm"
temperature = 0.1
'''
MEMORY, SECONDS = 1 << 30, 20
ERROR = re.compile(r'ivory: (small seed 4 failed: )?\[\w+\] ')
LOG = 'small-seed4.h5'
# One thread, and no second start of the program for it.
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS='1', OMP_WAIT_POLICY='passive')

ivory = pathlib.Path(sys.argv[1]).resolve()
shim = str(pathlib.Path(sys.argv[2]).resolve()) if len(sys.argv) > 2 and sys.argv[2] else None
count = int(sys.argv[3]) if len(sys.argv) > 3 else 40
seed = sys.argv[4] if len(sys.argv) > 4 else 'of the suite'
failures = []


def run(folder, *words, limited=True, **environment):
    """Runs the program, with little memory (but for sanitizers, which need all); a run that is still at work after SECONDS is interrupted, as a user would."""
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    process = subprocess.Popen([ivory, *map(str, words)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**ENVIRONMENT, **environment}, preexec_fn=limit if limited and shim else None)
    try:
        out, errors = process.communicate(timeout=SECONDS if words[0] != 'inspect' or '--follow' not in words else 1)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            out, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out.decode(errors='replace'), errors.decode(errors='replace'))


class Reader:
    """A verb that reads `victim`, which is made from `base`; both are names in a folder of bases."""

    def __init__(self, name, base, victim, words, goes_on=False, with_files=(), or_names=()):
        self.name, self.base, self.victim, self.words, self.goes_on = name, base, victim, words, goes_on
        self.with_files = with_files
        self.names = (victim, *or_names)  # an error names one of these

    def wrong(self, done):
        """What is wrong about how the program ended; empty: nothing."""
        if done.returncode < 0:
            return f'killed by {signal.Signals(-done.returncode).name}'
        if done.returncode == 128 + signal.SIGINT and self.goes_on:
            return ''
        if done.returncode not in (0, 1, 2):
            return f'exit code {done.returncode}'
        lines = done.stderr.strip().split('\n')
        if done.returncode == 0:
            return ''
        if len(lines) != 1 or not ERROR.match(lines[0]):
            return f'not one line of error, but {done.stderr[:1000]!r}'
        named = any(name in lines[0] for name in self.names)
        return '' if named else f'an error that does not name {self.victim}: {lines[0][:1000]}'


def make_bases(folder):
    """Finished, unfinished and other logs, previews, data and weights."""
    (folder / 'small.toml').write_text(SCENARIO)
    for name, more in (('small', []), ('weighted', ['clients.weights=[2,1,1]']), ('without', ['clients.without=[2]'])):
        done = run(folder, 'run', 'small.toml', '--quiet', '--out', '.', '--set', f'name={name}', *more, limited=False)
        assert done.returncode == 0, done.stderr
    assert run(folder, 'preview', LOG, '--models', '--out', 'previews.h5', limited=False).returncode == 0
    draw = numpy.random.default_rng(3)
    with h5py.File(folder / 'mine.h5', 'w') as data:
        data['x'], data['y'] = draw.normal(size=(30, 4)).astype('f4'), draw.integers(0, 3, 30).astype('i4')
        data['client'] = numpy.repeat(numpy.arange(3), 10)
    with h5py.File(folder / 'weights.h5', 'w') as weights:
        weights['0.weight'], weights['0.bias'] = draw.normal(size=(3, 4)).astype('f4'), draw.normal(size=3).astype('f4')
    with h5py.File(folder / LOG) as log:
        lines = log.attrs['scenario'].decode()
    (folder / 'own-data.toml').write_text(SCENARIO.replace('''kind = "blobs"
classes = 3
features = 4
train = 60
test = 20''', 'kind = "hdf5"\nfile = "mine.h5"').replace('dirichlet', 'natural').replace('count = 3', 'count = 0'))
    (folder / 'own-weights.toml').write_text(SCENARIO.replace('kind = "linear"', 'kind = "linear"\ninit = "weights.h5"'))
    assert 'clients' in lines
    stop_half_way(folder)


def stop_half_way(folder):
    """stopped.h5: a log after round 2, with its two checkpoints where the shim can stop a run."""
    if shim is None:
        shutil.copy(folder / LOG, folder / 'stopped.h5')
        with h5py.File(folder / 'stopped.h5', 'r+') as log:
            log['rounds_complete'][()] = 2
        return
    out = folder / 'stopped'
    for write in range(600, 100, -5):
        shutil.rmtree(out, ignore_errors=True)
        run(folder, 'run', 'small.toml', '--quiet', '--out', out, '--threads', 1, limited=False, LD_PRELOAD=shim,
            IVORY_KILL_AT=str(write))
        if (out / LOG).exists() and len(list(out.glob('*.checkpoint-?'))) == 2:
            with h5py.File(out / LOG) as log:
                if log['rounds_complete'][()] == 2:
                    break
    else:
        raise RuntimeError('no write to stop a run at after round 2')
    shutil.copy(out / LOG, folder / 'stopped.h5')
    for which in 'ab':
        shutil.copy(out / f'{LOG}.checkpoint-{which}', folder / f'stopped.h5.checkpoint-{which}')


def readers():
    log = [Reader('inspect', LOG, 'victim.h5', ['inspect', 'victim.h5']),
           Reader('inspect --follow', LOG, 'victim.h5', ['inspect', '--follow', 'victim.h5'], goes_on=True),
           Reader('compare --from', LOG, 'victim.h5', ['compare', '--from', 'victim.h5', LOG, '--csv', 'out.csv']),
           Reader('compare --ensemble', LOG, 'victim.h5', ['compare', '--from', 'victim.h5', '--ensemble']),
           Reader('preview', LOG, 'victim.h5', ['preview', 'victim.h5', '--models', '--out', 'out.h5']),
           Reader('preview of two', LOG, 'victim.h5', ['preview', LOG, 'victim.h5', '--rule', 'mixture', '--out', 'out.h5']),
           Reader('preview --retrained', 'weighted-seed4.h5', 'victim.h5',
                  ['preview', LOG, '--rule', 'pvi', '--retrained', LOG, 'victim.h5', '--out', 'out.h5']),
           Reader('preview to a file', 'previews.h5', 'victim.h5', ['preview', LOG, '--rule', 'pvi', '--out', 'victim.h5']),
           Reader('influence', LOG, 'victim.h5', ['influence', 'victim.h5', '--csv', 'out.csv']),
           Reader('influence --retrained', 'without-seed4.h5', 'victim.h5', ['influence', LOG, '--retrained', 'victim.h5']),
           Reader('pack', LOG, 'victim.h5', ['pack', 'victim.h5']),
           Reader('a run in its place', LOG, LOG, ['run', 'small.toml', '--quiet', '--out', '.'], goes_on=True),
           Reader('compare in its place', LOG, LOG, ['compare', 'small.toml', '--quiet', '--seeds', '1', '--out', '.'], goes_on=True),
           Reader('resume', 'stopped.h5', 'stopped.h5', ['run', '--quiet', '--resume', 'stopped.h5'], goes_on=True,
                  with_files=[f'stopped.h5.checkpoint-{which}' for which in 'ab' if shim]),
           # Labels may say that there are many classes, and links that there are no clients.
           Reader('data', 'mine.h5', 'mine.h5', ['run', 'own-data.toml', '--quiet', '--out', '.'], goes_on=True,
                  or_names=('at own-data.toml', '[memory]', 'the disk must have room')),
           Reader('start weights', 'weights.h5', 'weights.h5', ['run', 'own-weights.toml', '--quiet', '--out', '.'], goes_on=True)]
    return log


class Folders:
    """A copy of the bases for each thread."""

    def __init__(self, bases, root):
        self.bases, self.root, self.own = bases, root, threading.local()

    def here(self):
        if not hasattr(self.own, 'folder'):
            self.own.folder = pathlib.Path(tempfile.mkdtemp(dir=self.root))
            for path in self.bases.iterdir():
                if path.is_file():
                    shutil.copy(path, self.own.folder)
        return self.own.folder


def attempt(reader, bases, folder, what, damage):
    """Damages the reader's file, runs the reader, and puts everything back."""
    for name in {reader.base, *reader.with_files}:
        shutil.copy(bases / name, folder / (reader.victim if name == reader.base else name))
    said = damage(folder)
    before = set(folder.iterdir())
    done = run(folder, *reader.words)
    wrong = reader.wrong(done)
    if not wrong and (left := [path.name for path in set(folder.iterdir()) - before if '.new-' in path.name]):
        wrong = f'left behind: {left}'
    if wrong:
        failures.append(f'{reader.name}, {what}{said or ""}: {wrong}')
        print('WRONG', failures[-1], flush=True)
    for path in set(folder.iterdir()) - before:
        path.unlink() if not path.is_dir() else shutil.rmtree(path)
    for name in {reader.victim}:
        if (bases / name).exists():
            shutil.copy(bases / name, folder / name)
    return done.returncode


def tasks(bases):
    """(reader, words, damage of a folder)."""
    found = []
    for reader in readers():
        for number in range(count or 2000):
            found.append((reader, f'bytes {number}: ', lambda folder, reader=reader, number=number: mutations.file_damage(
                folder / reader.victim, f'{seed} {reader.name} {number}')))
        every = mutations.damages(bases / reader.base)
        chosen = random.Random(f'{seed} {reader.name}').sample(every, min(count, len(every))) if count else every
        chosen += [] if not count else [one for one in every[:len(mutations.WHOLE)] if one not in chosen]
        for words, _, damage in chosen:
            found.append((reader, words, lambda folder, reader=reader, damage=damage: mutations.apply(
                bases / reader.base, folder / reader.victim, damage)))
    if shim:
        found += checkpoint_tasks(bases)
    return found


def text_file(path):
    path.write_text('name = 3')


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def inside(damage):
    def apply(path):
        with h5py.File(path, 'r+') as file:
            damage(file)
    return apply


def dataset(kind, name):
    return inside(lambda file: mutations.DATASETS[kind](file, name))


def header(name, value):
    return inside(lambda file: file.attrs.create(name, value))


# What no reader of one log takes: (words, damage of the file, what the error says beside the file's name).
CERTAIN = [
    ('a text file', text_file, 'a whole HDF5 file is needed'),
    ('a pipe', a_pipe, 'got a pipe or a device'),
    ('cut off', cut, 'truncated file'),
    ('other data', lambda path: shutil.copy(path.parent / 'mine.h5', path), 'a log of an Ivory run is needed'),
    ('previews', lambda path: shutil.copy(path.parent / 'previews.h5', path), 'a log of an Ivory run is needed'),
    ('a newer format', header('format_version', numpy.int64(2)), 'reads logs of format 1 to 1, got format 2'),
    ('a format that is 1 in 32 bits', header('format_version', numpy.int64(2**32 + 1)), 'got format 4294967297'),
    ('a number of rounds below 0', header('rounds', numpy.int64(-1)), 'the attribute rounds must be in 0..16777216, got -1'),
    ('too many clients', header('clients', numpy.int64(2**40)), 'the attribute clients must be in 0..16777216'),
    ('rounds that are text', header('rounds', numpy.bytes_(b'3')), 'attribute "rounds"'),
    ('no scenario', inside(lambda file: file.attrs.pop('scenario')), 'must have an attribute "scenario"'),
    ('a name with control characters', header('name', numpy.bytes_(b'a\x1b[2J')), 'the attribute name must be one line'),
    ('more rounds complete than there are', inside(lambda file: file['rounds_complete'].write_direct(numpy.array(4))),
     'rounds_complete must be a number in 0..3, got 4'),
    ('fewer than none', inside(lambda file: file['rounds_complete'].write_direct(numpy.array(-1))), 'got -1'),
    ('no rounds complete', dataset('missing', '/rounds_complete'), 'dataset rounds_complete'),
    ('a huge scale', dataset('huge, no bytes', '/rounds/round'), 'dataset "/rounds/round" must have the shape [3]'),
    ('rounds of another file', dataset('bytes of another file', '/rounds_complete'), 'dataset "/rounds_complete"'),
]


def certain_refusals(bases, folder):
    """Every reader of a log refuses what is certainly wrong, and says what."""
    for reader in readers():
        if reader.victim != 'victim.h5' and reader.name != 'resume' or reader.name == 'preview to a file':
            continue
        for words, damage, text in CERTAIN:
            path = folder / reader.victim
            path.unlink(missing_ok=True)
            for name in {reader.base, *reader.with_files}:
                shutil.copy(bases / name, folder / (reader.victim if name == reader.base else name))
            damage(path)
            done = run(folder, *reader.words)
            if words == 'previews' and reader.name == 'compare --from':  # of several files: passed by, and named
                if done.returncode != 0 or f'passed by what is no log but a preview or a replay of one: {path.name}' not in done.stderr:
                    failures.append(f'{reader.name}, {words}: exit {done.returncode}, {done.stderr}')
                    print('WRONG', failures[-1], flush=True)
            elif done.returncode != 2 or text not in done.stderr or (wrong := reader.wrong(done)):
                failures.append(f'{reader.name}, {words}: exit {done.returncode}, {done.stderr} instead of {text}')
                print('WRONG', failures[-1], flush=True)
            path.unlink()
    print(f'{len(CERTAIN)} files that no reader of logs takes')


def checkpoint_tasks(bases):
    resume = next(reader for reader in readers() if reader.name == 'resume')
    reader = Reader('checkpoint', resume.base, resume.victim, resume.words, True, resume.with_files)
    return [(reader, f'checkpoint-{which} {number}: ',
             lambda folder, which=which, number=number: mutations.file_damage(
                 folder / f'stopped.h5.checkpoint-{which}', f'{seed} checkpoint {which} {number}'))
            for number in range(count or 2000) for which in 'ab']


def main():
    with tempfile.TemporaryDirectory() as root:
        bases = pathlib.Path(root) / 'bases'
        bases.mkdir()
        make_bases(bases)
        folders = Folders(bases, root)
        certain_refusals(bases, folders.here())
        codes = collections.defaultdict(collections.Counter)
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            done = pool.map(lambda task: (task[0].name, attempt(task[0], bases, folders.here(), task[1], task[2])), tasks(bases))
            for name, code in done:
                codes[name][code] += 1
    for name, own in codes.items():
        print(f'{name}: ' + ', '.join(f'exit {code}: {number}' for code, number in sorted(own.items())))
    # Damage that nobody notices, or that is noticed always, would be no test.
    total = sum(codes.values(), collections.Counter())
    if min(total[0], total[1] + total[2]) < sum(total.values()) // 20:
        failures.append(f'hardly more than one outcome: {total}')
    print('all good' if not failures else f'{len(failures)} failures')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
