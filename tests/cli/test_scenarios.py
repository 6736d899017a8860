#!/usr/bin/env python3
"""Every scenario in scenarios/: it reads as it is, its header's sweep does, its published settings are those of docs/methods.md,
and every arm of it trains a round on small stand-ins for the data it names.

usage: test_scenarios.py PROGRAM SOURCE_DIR
"""
import gzip
import pathlib
import random
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import tomllib

PROGRAM, SOURCE = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
# Short visits, few samples; what a scenario needs beside that.
SHORT = ['rounds=1', 'clients.steps=2', 'clients.epochs=0', 'clients.batch=8', 'evaluation.samples=2']
FUNC = ['fedlap-func:data.public=10']  # of some hundred images
MORE = {
    'mnist-100-clients': ['clients.count=10', 'partition.examples_per_class=11'] + FUNC,
    'fmnist-homogeneous-10': FUNC,
    'fmnist-heterogeneous-10': FUNC,
    'fmnist-heterogeneous-100': ['clients.count=10'] + FUNC,
    'cifar10-zenke': FUNC,
    'elbo': ['evaluation.elbo_samples=2'],
}
# resnet20 is slow in a test, whatever the data.
FEWER = {'cifar100-resnet20': ['clients.count=2', 'clients.steps=1'], 'cifar10-acar': ['clients.count=2'],
         'cifar10-zenke': ['clients.count=2']}


def write_idx(folder, random_, train, test):
    """Images whose mean grey level follows their class, in MNIST's format."""
    folder.mkdir()
    for prefix, count in (('train', train), ('t10k', test)):
        labels = bytes(i % 10 for i in range(count))
        pixels = b''.join(bytes(random_.randrange(20 * label, 20 * label + 60) for _ in range(784)) for label in labels)
        with gzip.open(folder / f'{prefix}-images-idx3-ubyte.gz', 'wb', compresslevel=1) as file:
            file.write(struct.pack('>4I', 0x803, count, 28, 28) + pixels)
        with gzip.open(folder / f'{prefix}-labels-idx1-ubyte.gz', 'wb', compresslevel=1) as file:
            file.write(struct.pack('>2I', 0x801, count) + labels)


def write_cifar(folder, random_, files, classes, label_bytes):
    folder.mkdir()
    for name, count in files.items():
        rows = []
        for i in range(count):
            label = i % classes
            rows.append(bytes([0] * (label_bytes - 1) + [label]) + random_.randbytes(3072))
        (folder / name).write_bytes(b''.join(rows))


def make_data(folder):
    random_ = random.Random(1)
    write_idx(folder / 'mnist', random_, 240, 40)
    write_idx(folder / 'fashion-mnist', random_, 240, 40)
    write_cifar(folder / 'cifar-10-batches-bin', random_,
                {f'data_batch_{i}.bin': 12 for i in range(1, 6)} | {'test_batch.bin': 10}, 10, 1)
    write_cifar(folder / 'cifar-100-binary', random_, {'train.bin': 100, 'test.bin': 10}, 100, 2)


def start(*arguments, data):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, cwd=data,
                          env={'PATH': '/usr/bin:/bin', 'IVORY_DATA_DIR': str(data), 'OMP_NUM_THREADS': '2'})


def ivory(*arguments, data):
    done = start(*arguments, data=data)
    assert done.returncode == 0, f'{arguments} ended with {done.returncode}:\n{done.stderr}{done.stdout}'
    return done.stdout


def arms_of(scenario):
    lines = scenario.read_text().splitlines()
    return max(lines.count('[[compare]]'), 1)


def published():
    """The first table of docs/methods.md, section 19: scenario -> its row by the columns' names."""
    section = (SOURCE / 'docs' / 'methods.md').read_text().split('\n## 19 ')[1]
    rows = [[cell.strip(' `') for cell in line.strip('|').split('|')] for line in section.splitlines()
            if line.startswith('|')]
    head = rows[0]
    return {row[0]: dict(zip(head, row)) for row in rows[2:] if len(row) == len(head)}


def check_published_baselines():
    """The second table: clients' optimizer, then one cell per method."""
    section = (SOURCE / 'docs' / 'methods.md').read_text().split('\n## 19 ')[1].split('| scenario, clients')[1]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in section.splitlines()[2:5]]
    number = r'([\d.e+-]+)'
    compared = 0
    for first, *cells in rows:
        stem, *shared = re.split(r', ', first.replace('`', ''))
        text = tomllib.loads((SOURCE / 'scenarios' / f'{stem}.toml').read_text())
        for name, cell in zip(('fedavg', 'fedprox', 'feddyn', 'fedlap', 'fedlap-cov'), cells):
            if cell == 'not published':
                continue
            cell = cells[3] if cell == 'as FedLap' else cell
            arm = next(one for one in text['compare'] if one['name'] == name)
            clients, optimizer, server = text['clients'] | arm['clients'], arm['clients']['optimizer'], arm['server']
            has = {'Adam': optimizer['lr'], 'clip': clients.get('clip_norm'), 'E =': clients['epochs'],
                   'mu': server.get('mu'), 'alpha': server.get('alpha'), 'decay': optimizer.get('weight_decay'),
                   's0': server.get('prior_precision'), 'd': server.get('damping')}
            for word, value in re.findall(rf'(Adam|clip|E =|mu|alpha|decay|s0|\bd) {number}', ', '.join(shared + [cell])):
                assert has[word] == float(value), f'{stem}, {name}: {word} is {has[word]}, published {value}'
                compared += 1
    assert compared == 56, compared  # all that the table says


def check_published(stem, row):
    text = tomllib.loads((SOURCE / 'scenarios' / f'{stem}.toml').read_text())
    arm = next(one for one in text['compare'] if one['name'] == 'vb-admm')
    clients, optimizer, server = text['clients'] | arm['clients'], arm['clients']['optimizer'], arm['server']
    has = {'K': clients['count'], 'R': text['rounds'], 'E': clients['epochs'], 'B': clients['batch'],
           'lr': optimizer['lr'], 'h0': optimizer['hess_init'], 'beta2': optimizer['beta2'],
           'tau': server['temperature'], 's0': server['prior_precision'], 'd': server['damping'], 'rho': server['rho']}
    for name, value in has.items():
        assert value == float(row[name]), f'{stem}: {name} is {value}, published {row[name]}'
    schedule = clients.get('schedule', 'constant')
    assert schedule == row['schedule'], f'{stem}: {schedule}, published {row["schedule"]}'
    assert text['evaluation']['samples'] == 32 and optimizer['rescale_lr'] is False, stem
    assert set(optimizer) <= {'name', 'lr', 'hess_init', 'beta2', 'rescale_lr'}, f'{stem}: {optimizer}'


def check_header_sweep(scenario, nowhere):
    """The command in the scenario's header gets as far as the data, with as many settings for every arm."""
    text = re.sub(r'\\\n#\s*', '', scenario.read_text())
    commands = re.findall(r'^#\s+ivory (sweep .*)$', text, re.MULTILINE)
    for command in commands:
        words = shlex.split(command)
        words[1] = str(scenario)
        done = start(*words, '--out', str(nowhere / 'sweep'), '--set', f'data.directory={nowhere / "none"}', data=nowhere)
        assert done.returncode == 2 and '[data] directory must be' in done.stderr, f'{command}:\n{done.stderr}'
        count = {'nine': 9, 'three': 3}[re.search(r'\b(nine|three)\s+(?:#\s+)?settings\b', text)[1]]
        budgets = re.findall(r'[ ,](\d+)\b', re.search(r'^settings of each arm:(.*)$', done.stdout, re.MULTILINE)[1])
        assert set(budgets) == {str(count)}, f'{command}:\n{done.stdout}'
    return len(commands)


def main():
    scenarios = sorted((SOURCE / 'scenarios').glob('*.toml'))
    assert len(scenarios) >= 10, scenarios
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_data(folder)
        nowhere = folder / 'nowhere'
        nowhere.mkdir()
        rows = published()
        assert len(rows) == 7, rows
        for stem, row in rows.items():
            check_published(stem, row)
        check_published_baselines()
        sweeps = 0
        for scenario in scenarios:
            stem = scenario.stem
            ivory('validate', str(scenario), data=nowhere)
            sweeps += check_header_sweep(scenario, nowhere)
            out = folder / stem
            settings = SHORT + MORE.get(stem, []) + FEWER.get(stem, [])
            ivory('validate', str(scenario), '--set', *settings, data=folder)
            ivory('run', str(scenario), '--quiet', '--out', str(out), '--set', *settings, data=folder)
            logs = list(out.glob('*.h5'))
            assert len(logs) == arms_of(scenario), f'{stem}: {len(logs)} logs for {arms_of(scenario)} arms'
            print(f'{stem}: {len(logs)} arms')
        assert sweeps == 6, sweeps


main()
