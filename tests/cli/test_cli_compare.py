#!/usr/bin/env python3
"""Comparisons from the command line: test_cli_compare.py IVORY. Skipped (77) like test_cli.py."""
import csv
import json
import os
import pathlib
import re
import sys
import tempfile

import test_cli
from test_cli import SCENARIO, ROUND_LINE, Ivory, check, exits, said, root_of, hashes

import h5py


def test_compare(ivory, file):
    print('-- compare')
    done = ivory('compare', file, '--seeds', 2, '--out', 'cmp')
    exits('compare', done, 0)
    logs = [f'cmp/small-{arm}-seed{seed}.h5' for seed in (4, 5) for arm in ('average', 'bayes')]
    check('every arm ran with seeds 4 and 5',
          sorted(os.listdir(ivory.folder / 'cmp')) == sorted(l[4:] for l in logs) and
          [root_of(ivory.folder / log)[0]['seed'] for log in logs] == [4, 4, 5, 5])
    single = ivory('run', file, '--out', 'single', '--seed', 5, '--quiet')
    check('a seed in compare gives the bits of run with that seed', single.returncode == 0 and
          all(hashes(ivory.folder / f'cmp/small-{a}-seed5.h5') == hashes(ivory.folder / f'single/small-{a}-seed5.h5')
              for a in ('average', 'bayes')))

    def stamps():
        return [(ivory.folder / log).stat().st_mtime_ns for log in logs]

    before = stamps()
    again = ivory('compare', file, '--seeds', 2, '--out', 'cmp')
    check('a second time all logs are reused, and it says so', again.returncode == 0 and stamps() == before and
          again.stdout.count('reused') == 4 and not ROUND_LINE.search(again.stdout), said(again))

    def table(text):  # without the progress above it and the hints below
        parts = [part for part in text.split('\n\n') if 'reused' not in part and not ROUND_LINE.search(part)]
        return '\n\n'.join(part for part in parts if '--from' not in part).strip()

    check('the same table both times', table(again.stdout) == table(done.stdout) != '', again.stdout)
    rebuilt = ivory('compare', '--from', *logs, '--csv', 'table.csv')
    exits('compare --from', rebuilt, 0)
    check('--from rebuilds that table', rebuilt.stdout.strip() == table(done.stdout), rebuilt.stdout)
    rows = list(csv.reader((ivory.folder / 'table.csv').open()))
    check('--csv writes rows of equal length', len(rows) > 2 and len({len(row) for row in rows}) == 1, rows)
    final = []
    for seed in (4, 5):
        with h5py.File(ivory.folder / f'cmp/small-bayes-seed{seed}.h5', 'r') as log:
            final.append(float(log['rounds/accuracy'][2]))
    mean = sum(final) / 2
    numbers = {float(cell) for row in rows[1:] if 'bayes' in row for cell in row if re.fullmatch(r'[-+0-9.e]+', cell)}
    check('the csv has the mean over seeds of the final accuracy',
          any(abs(n - mean) < 1e-5 for n in numbers), (mean, rows))
    replayed = ivory('compare', file, '--seeds', 2, '--out', 'cmp', '--json')
    fresh = ivory('compare', file, '--seeds', 2, '--out', 'cmp', '--json', '--fresh')
    check('--fresh runs again', fresh.returncode == 0 and all(a != b for a, b in zip(stamps(), before)), said(fresh))

    def timeless(text):
        return [{key: value for key, value in json.loads(line).items() if not key.startswith('seconds')}
                for line in text.splitlines()]

    check('--json of reused logs and of fresh runs is the same but for times',
          len(timeless(fresh.stdout)) == 12 and timeless(fresh.stdout) == timeless(replayed.stdout), said(replayed))

    changed = ivory('compare', file, '--seeds', 2, '--out', 'cmp', '--only', 'average', '--set', 'clients.batch=8')
    check('another scenario reuses nothing', changed.returncode == 0 and 'reused' not in changed.stdout, said(changed))
    check('and what it found there is kept under another name, and said', changed.stdout.count('it is now cmp/') == 2 and
          [root_of(ivory.folder / f'cmp/small-average-seed{seed}.h5.1')[0]['seed'] for seed in (4, 5)] == [4, 5],
          said(changed))
    mine = ivory.folder / 'mine.h5'

    def own_data(shift):
        with h5py.File(mine, 'w') as data:
            data['x'] = [[float(i % 7), float(i % 3)] for i in range(60)]
            data['y'] = [(i + shift) % 2 for i in range(60)]

    own = ('compare', file, '--seeds', 1, '--only', 'average', '--out', 'own', '--set', 'data={kind="hdf5", file="mine.h5"}')
    own_data(0)
    ivory(*own)
    same = ivory(*own)
    own_data(1)
    other = ivory(*own)
    check('other examples in the same file: the log is not reused', 'reused' in same.stdout and other.returncode == 0 and
          'reused' not in other.stdout, said(same) + said(other))
    with h5py.File(ivory.folder / logs[1], 'r+') as log:
        log['rounds_complete'][...] = 2
    (ivory.folder / logs[0]).write_bytes(b'not a log')
    repaired = ivory('compare', file, '--seeds', 2, '--out', 'cmp')
    check('an unfinished log is run again; the file that is no log is named and kept', repaired.returncode == 1 and
          'average seed 4 failed' in repaired.stderr and logs[0] in repaired.stderr and
          repaired.stdout.count('reused') == 1 and
          (ivory.folder / logs[0]).read_bytes() == b'not a log' and root_of(ivory.folder / logs[1])[1] == 3,
          said(repaired))
    logs = logs[1:]
    (ivory.folder / 'old.csv').write_text('precious')
    exits('a failed comparison', ivory('compare', file, '--csv', 'old.csv', '--set', 'data={kind="idx", directory="no"}'), 2)
    check('leaves the file of --csv alone', (ivory.folder / 'old.csv').read_text() == 'precious')
    exits('a --csv that cannot be written', ivory('compare', '--from', *logs, '--csv', 'no/where.csv'), 1,
          'no/where.csv')
    exits('--from with something else', ivory('compare', '--from', file), 2, file.name)


def test_shards(ivory, file):
    print('-- shards')
    everything, per_shard = [], []
    for i in (1, 2, 3):
        done = ivory('compare', file, '--seeds', 2, '--shard', f'{i}/3', '--out', f'shard{i}')
        logs = sorted(os.listdir(ivory.folder / f'shard{i}'))
        per_shard.append(len(logs))
        everything += logs
        exits(f'shard {i}/3', done, 0, f'shard {i}/3', 'compare --from', *logs)
    check('the shards are disjoint, even and complete', len(everything) == 4 == len(set(everything)) and
          max(per_shard) - min(per_shard) <= 1, everything)
    merged = ivory('compare', '--from', *(p for i in (1, 2, 3) for p in (ivory.folder / f'shard{i}').glob('*.h5')))
    exits('their logs make one table', merged, 0, 'average', 'bayes')
    empty = ivory('compare', file, '--seeds', 1, '--shard', '1/9', '--out', 'shard-empty')
    exits('a shard without runs is good', empty, 0, '0 runs')


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        ivory = Ivory(str(pathlib.Path(binary).resolve()), pathlib.Path(folder))
        file = pathlib.Path(folder) / 'small.toml'
        file.write_text(SCENARIO)
        test_compare(ivory, file)
        test_shards(ivory, file)
    print(f'{test_cli.failures} wrong' if test_cli.failures else 'all good')
    return 1 if test_cli.failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
