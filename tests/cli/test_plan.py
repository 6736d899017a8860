#!/usr/bin/env python3
"""What `ivory plan` says of files against the files: test_plan.py IVORY [FAILING_DISK]. Exit 77 (skipped) without h5py.

FAILING_DISK stops runs after two checkpoints, to weigh these.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import h5py
except ImportError:
    print('skipped: h5py is not installed, and the logs cannot be checked without it')
    sys.exit(77)

SCENARIO = '''
name = "small"
seed = 4
rounds = 8
[data]
kind = "blobs"
classes = 3
features = 20
train = 240
test = 60
[partition]
kind = "dirichlet"
[model]
kind = "mlp"
hidden = [30]
[clients]
count = 5
batch = 16
[evaluation]
samples = 4
[log]
posterior_every = 1
checkpoint_every = 1
[[compare]]
name = "point"
server.algorithm = "fedavg"
clients.optimizer = { name = "sgd", lr = 0.05 }
[[compare]]
name = "bayes"
server = { algorithm = "vb_admm", temperature = 0.1 }
clients.optimizer = { name = "ivon", lr = 0.05, hess_init = 0.1 }
[[compare]]
name = "variates"
server.algorithm = "scaffold"
clients.optimizer = { name = "sgd", lr = 0.05 }
[[compare]]
name = "moments"
server.algorithm = "fedadam"
clients = { keep_opt_state = true, optimizer = { name = "adam", lr = 0.01 } }
[[compare]]
name = "full"
server = { algorithm = "vb_admm", posterior = "full", temperature = 0.1 }
clients.optimizer.name = "von"
'''
# arm, --set ...
CASES = [
    ('point', []),
    ('bayes', []),
    ('bayes', ['log.sites=every', 'model.hidden=[100]']),
    ('bayes', ['evaluation.sensitivity=50', 'evaluation.label_noise_probe=40', 'data.label_noise=0.2', 'evaluation.curve=true']),
    ('variates', ['log.sites=last']),
    ('moments', []),
    ('full', ['model.hidden=[]', 'log.precision_matrix=true']),
    ('full', ['model.hidden=[8]', 'log.precision_matrix=true', 'log.sites=every']),
    ('point', ['evaluation.laplace=true', 'rounds=200', 'log.posterior_every=10']),
]
UNITS = {'bytes': 1, 'KiB': 2**10, 'MiB': 2**20, 'GiB': 2**30}
PARTS = {'posterior': [f'/posterior/{name}' for name in ('mean', 'precision', 'round', 'parameter', 'other_parameter')],
         'precision matrices': ['/posterior/precision_matrix'],
         'clients and sites': [f'/clients/{name}' for name in ('mean', 'precision', 'site_mean', 'site_precision')],
         'probes': ['/sensitivity', '/label_noise']}
NEAR = 0.04  # of the files; numbers on the terminal are rounded beside that

ivory = str(pathlib.Path(sys.argv[1]).resolve())
shim = str(pathlib.Path(sys.argv[2]).resolve()) if len(sys.argv) > 2 else None
failures = []


def check(what, good):
    print('ok   ' if good else 'WRONG', what)
    if not good:
        failures.append(what)


def run(folder, *words, **environment):
    return subprocess.run([ivory, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=120,
                          env={**os.environ, **environment})


def sizes(text):
    """{name: (least, most) bytes} of the lines that end with a size: half a unit of the last digit around it."""
    found = {}
    for line in text.splitlines():
        if match := re.match(r'  +(\D+?)  +(?:two of at most )?([\d.]+) (bytes|[KMG]iB)', line):
            digits = len(match[2].partition('.')[2])
            half, value = 0.5 * 10**-digits, float(match[2])
            found[match[1]] = ((value - half) * UNITS[match[3]], (value + half) * UNITS[match[3]])
    return found


def near(real, said, upper_bound=False):
    least, most = said
    return real <= most * (1 if upper_bound else 1 + NEAR) and real >= least * (1 - NEAR)


def stored(path, names):
    total = 0

    def add(item):
        nonlocal total
        total += item.id.get_storage_size()
    with h5py.File(path) as log:
        for name in names:
            if name in log and isinstance(log[name], h5py.Group):
                log[name].visititems(lambda _, item: add(item))
            elif name in log:
                add(log[name])
    return total


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / 'small.toml').write_text(SCENARIO)
        for number, (arm, keys) in enumerate(CASES):
            what = f'{arm} {" ".join(keys)}'
            common = ['small.toml', '--only', arm, '--set', f'name=c{number}', *keys]
            planned = run(folder, 'plan', *common)
            said = sizes(planned.stdout)
            check(f'{what}: planned {planned.stderr}', planned.returncode == 0 and 'log' in said and 'checkpoints' in said)
            log = folder / f'c{number}-{arm}-seed4.h5'
            done = run(folder, 'run', *common[:3], '--quiet', '--out', '.', *common[3:])
            check(f'{what}: ran {done.stderr}', done.returncode == 0)
            size = log.stat().st_size
            check(f'{what}: the log has {size} bytes, planned {said["log"]}', near(size, said['log']))
            for part, datasets in PARTS.items():
                real = stored(log, datasets)
                check(f'{what}: {part} have {real} bytes, planned {said.get(part, "none")}',
                      part in said and near(real, said[part]) if real else part not in said)
            check(f'{what}: probes have memory', ('sensitivity' in said and 'label-noise probe' in said) ==
                  ('evaluation.sensitivity=50' in keys))
            if shim:
                out = folder / f'stopped{number}'
                run(folder, 'run', *common[:3], '--quiet', '--out', out, *common[3:], LD_PRELOAD=shim,
                    IVORY_FAIL_PATH='.checkpoint-', IVORY_FAIL_WITH='28', IVORY_FAIL_FROM='99', IVORY_FAIL_KILL_AT='3')
                found = [path.stat().st_size for path in out.glob('*.checkpoint-?')]
                check(f'{what}: checkpoints have {found} bytes, planned {said["checkpoints"]}',
                      len(found) == 2 and all(near(real, said['checkpoints'], True) for real in found))
    print('all good' if not failures else f'{len(failures)} failures')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
