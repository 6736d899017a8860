#!/usr/bin/env python3
"""Every scenario in scenarios/: it reads, and every arm of it trains a round on small stand-ins for the data it names.

usage: test_scenarios.py PROGRAM SOURCE_DIR
"""
import gzip
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

PROGRAM, SOURCE = sys.argv[1], pathlib.Path(sys.argv[2])
# Short visits, few samples; what a scenario needs beside that.
SHORT = ['rounds=1', 'clients.steps=2', 'clients.epochs=0', 'clients.batch=8', 'evaluation.samples=2']
MORE = {
    'mnist-100-clients': ['clients.count=10', 'partition.examples_per_class=12'],
    'fmnist-heterogeneous-100': ['clients.count=10'],
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


def ivory(*arguments, data):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True,
                          env={'PATH': '/usr/bin:/bin', 'IVORY_DATA_DIR': str(data), 'OMP_NUM_THREADS': '2'})
    assert done.returncode == 0, f'{arguments} ended with {done.returncode}:\n{done.stderr}{done.stdout}'
    return done.stdout


def arms_of(scenario):
    lines = scenario.read_text().splitlines()
    return max(lines.count('[[compare]]'), 1)


def main():
    scenarios = sorted((SOURCE / 'scenarios').glob('*.toml'))
    assert len(scenarios) >= 10, scenarios
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_data(folder)
        for scenario in scenarios:
            stem = scenario.stem
            out = folder / stem
            settings = SHORT + MORE.get(stem, []) + FEWER.get(stem, [])
            ivory('validate', str(scenario), '--set', *settings, data=folder)
            ivory('run', str(scenario), '--quiet', '--out', str(out), '--set', *settings, data=folder)
            logs = list(out.glob('*.h5'))
            assert len(logs) == arms_of(scenario), f'{stem}: {len(logs)} logs for {arms_of(scenario)} arms'
            print(f'{stem}: {len(logs)} arms')


main()
