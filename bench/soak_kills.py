#!/usr/bin/env python3
"""Kills runs at random times, many times over: soak_kills.py IVORY [KILLS [SEED]]. Needs h5py; exit code 1 where something is wrong.

A run is killed (kill -9) after a random time, its log is opened by h5py and its finished rounds compared with those of a run that
nothing happened to, and it is resumed, to be killed again, until it has all rounds; then the whole log is compared. Then the next
run begins, with another method, until KILLS kills are done. Where the kill came too early for a log, or too late, it counts as well,
and both are told.
"""
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

try:
    import h5py
    import numpy
except ImportError:
    sys.exit('h5py is needed to look at the logs, and is not installed')

SCENARIO = '''
name = "soak"
seed = 4
rounds = 400
[data]
kind = "blobs"
classes = 3
features = 4
train = 240
test = 60
[partition]
kind = "dirichlet"
[model]
kind = "mlp"
hidden = [12]
[clients]
count = 6
batch = 16
participation = 0.5
[evaluation]
every = 3
samples = 4
clients_every = 10
[log]
posterior_every = 2
sites = "every"
checkpoint_every = 7
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
'''
ARMS = ('bayes', 'variates', 'moments')
# Scale of each dataset's first axis: rows of later rounds are not to be believed.
SCALES = {'rounds': ['rounds/round'], 'posterior': ['posterior/round'],
          'clients': ['clients/round', 'clients/evaluation_round', 'clients/site_round']}

ivory = pathlib.Path(sys.argv[1]).resolve()
kills = int(sys.argv[2]) if len(sys.argv) > 2 else 500
draw = random.Random(sys.argv[3] if len(sys.argv) > 3 else 'soak')


def contents(path, finished=None):
    """Every dataset but wall times; of those with a row per round the finished rounds alone, unless `finished` is None."""
    with h5py.File(path) as log:
        rounds_of = {log[name].name: log[name][:] for names in SCALES.values() for name in names if name in log}
        found = {}

        def add(name, item):
            if not isinstance(item, h5py.Dataset) or name.startswith('rounds/seconds') or name == 'rounds_complete':
                return
            axis = item.dims[0][0].name if finished is not None and item.ndim and len(item.dims[0]) else ''
            found[name] = item[()] if axis not in rounds_of else item[:][rounds_of[axis] <= finished]
        log.visititems(add)
        return found


def complete(path):
    with h5py.File(path) as log:
        return int(log['rounds_complete'][()])


def differing(one, other):
    return sorted(one.keys() ^ other.keys()) or [
        name for name in one if not numpy.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == 'f')]


def fail(what, folder):
    print('WRONG', what, flush=True)
    kept = tempfile.mkdtemp(prefix='soak-')
    subprocess.run(['cp', '-r', str(folder), kept], check=False)
    sys.exit(f'the files are kept in {kept}')


class Course:
    """One run, killed again and again."""

    def __init__(self, folder, arm, number):
        self.folder, self.arm = folder, arm
        self.whole = folder / 'whole' / f'soak-{arm}-seed4.h5'
        if not self.whole.exists():
            began = time.monotonic()
            subprocess.run([ivory, 'run', folder / 'soak.toml', '--only', arm, '--out', self.whole.parent, '--quiet', '--threads',
                            '1'], check=True, capture_output=True)
            Course.seconds[arm] = time.monotonic() - began
        self.out = folder / f'{number}-{arm}'
        self.log = self.out / self.whole.name

    seconds = {}

    def words(self):
        if self.log.exists():
            return ['run', '--resume', self.log, '--quiet', '--threads', '1']
        return ['run', self.folder / 'soak.toml', '--only', self.arm, '--out', self.out, '--quiet', '--threads', '1']

    def kill(self):
        """One process, killed at some time of a whole run; 'early', 'late' or the finished rounds."""
        process = subprocess.Popen([ivory, *map(str, self.words())], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            _, errors = process.communicate(timeout=draw.uniform(0, 0.6) * Course.seconds[self.arm])
            if process.returncode != 0:
                fail(f'{self.words()}: exit code {process.returncode}, {errors}', self.folder)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        if not self.log.exists():
            return 'early'
        rounds = complete(self.log)
        different = differing(contents(self.log, rounds), contents(self.whole, rounds))
        if different:
            fail(f'after a kill in round {rounds}: {different} differ from those of a whole run', self.folder)
        return 'late' if process.returncode == 0 else rounds

    def finish(self):
        done = subprocess.run([ivory, *map(str, self.words())], capture_output=True, text=True)
        if done.returncode != 0:
            fail(f'{self.words()}: exit code {done.returncode}, {done.stderr}', self.folder)
        different = differing(contents(self.log), contents(self.whole))
        left = sorted(path.name for path in self.out.iterdir() if '.new-' not in path.name)
        if different or left != [self.log.name]:
            fail(f'the finished log: {different} differ from a whole run, the folder has {left}', self.folder)


def main():
    counts, runs, done = {'early': 0, 'late': 0, 'between': 0}, 0, 0
    with tempfile.TemporaryDirectory(prefix='soak-') as name:
        folder = pathlib.Path(name)
        (folder / 'soak.toml').write_text(SCENARIO)
        while done < kills:
            course = Course(folder, ARMS[runs % len(ARMS)], runs)
            end = None
            while done < kills and end != 'late':
                end = course.kill()
                done += end != 'late'
                counts[end if isinstance(end, str) else 'between'] += 1
            course.finish()
            runs += 1
            print(f'{done} kills, {runs} runs became what they would have been', flush=True)
    print(f'all good: {kills} kills in {runs} runs ({counts["early"]} before there was a log, {counts["between"]} between rounds or '
          f'within one); {counts["late"]} runs ended before their next kill')


if __name__ == '__main__':
    main()
