#!/usr/bin/env python3
"""Data of the user's own on the command line: test_cli_data.py IVORY. Skipped (77) like test_cli.py."""
import pathlib
import sys
import tempfile

import test_cli
from test_cli import Ivory, check, exits, h5py, root_of, said

SCENARIO = '''
name = "own"
rounds = 2
[data]
kind = "csv"
file = "own.csv"
label = "class"
client = "place"
public = 12
label_noise = 0.25
[partition]
kind = "natural"
[model]
hidden = [4]
[clients]
optimizer = { name = "sgd", lr = 0.1 }
[server]
algorithm = "fedavg"
[evaluation]
clients = "none"
[[compare]]
name = "noisy"
[[compare]]
name = "clean"
data.label_noise = 0.0
evaluation.ood = { kind = "blobs", features = 2, test = 30, seed = 5 }
'''


def test_csv(ivory, file):
    print('-- a scenario on CSV')
    rows = [f'{i % 7 - 3},{"abcd"[i % 4]},{(i * i) % 5 / 2},{i % 3}' for i in range(150)]
    (ivory.folder / 'own.csv').write_text('\n'.join(['height,place,width,class', *rows]) + '\n')
    checked = ivory('validate', file)
    exits('validate', checked, 0, '108 training, 12 public and 30 test examples, 2 features, 3 classes', '2-4-3',
          'changed by symmetric noise of rate 0.25', 'public pool: 12 examples',
          'out of distribution: 30 examples of 4 Gaussian blobs', '4 clients')
    done = ivory('run', file, '--quiet')
    check('run', done.returncode == 0, said(done))
    logs = {arm: ivory.folder / f'runs/own-{arm}-seed1.h5' for arm in ('noisy', 'clean')}
    roots = {arm: root_of(log)[0] for arm, log in logs.items()}
    check('noise leaves the partition as it is', roots['noisy']['partition_hash'] == roots['clean']['partition_hash'] and
          roots['noisy']['data_checksum'] != roots['clean']['data_checksum'], roots)
    with h5py.File(logs['noisy']) as log:
        flipped = log['partition/flipped_index'][:]
        check('the log says which labels are noise', 8 < len(flipped) < 50 and flipped.max() < 108 and
              len(log['partition/flipped_class']) == len(flipped), flipped)
    with h5py.File(logs['clean']) as log:
        check('a log without noise does not', 'flipped_index' not in log['partition'], list(log['partition']))
    check('the resolved scenario has the table', '[evaluation.ood]\nkind = "blobs"' in roots['clean']['scenario'] and
          'evaluation.ood' not in roots['noisy']['scenario'], roots['clean']['scenario'])
    again = ivory.folder / 'again.toml'
    again.write_text(roots['clean']['scenario'])
    exits('and is a scenario itself', ivory('validate', again), 0, 'out of distribution')

    exits('--set for the table', ivory('validate', file, '--set', 'evaluation.ood.features=3'), 2,
          '[evaluation.ood]', 'got 3 in', '2 in the training set')
    exits('a column that is not there', ivory('validate', file, '--set', 'data.label=clas'), 2, 'did you mean "class"')
    (ivory.folder / 'own.csv').write_text('height,place,width,class\n1,a,x,0\n')
    exits('a cell that is no number', ivory('validate', file), 2, 'own.csv line 2 column 2 ("width")')


CLIENTS = '''
name = "held"
rounds = 2
[data]
kind = "blobs"
classes = 2
features = 3
train = 200
test = 60
[partition]
kind = "iid"
[model]
hidden = [4]
[clients]
count = 4
optimizer = { name = "sgd", lr = 0.2 }
[server]
algorithm = "fedavg"
[[compare]]
name = "one"
[[compare]]
name = "two"
clients.epochs = 2
'''


def test_checks(ivory, file):
    print('-- validate refuses what run refuses')
    rows = [f'{i % 7 - 3},{"abcd"[i % 4]},{i % 3}' for i in range(60)]
    (ivory.folder / 'own.csv').write_text('\n'.join(['width,place,class', *rows]) + '\n')
    wrong = ('--set', 'data.public=0', 'clean:clients.weights=[1,2,3]', 'evaluation.ood.features=1')
    for verb in ('validate', 'run'):
        done = ivory(verb, file, *wrong)
        check(f'{verb}: weights of the second arm for three of four natural clients', done.returncode == 2 and
              'clients.weights' in done.stderr, said(done))
    shares = ('--set', 'data.public=0', 'evaluation.ood.features=1', 'server.algorithm=fedlap_func', 'server.share_inputs=13')
    for verb in ('validate', 'run'):
        exits(f'{verb}: shared inputs that clients do not have', ivory(verb, file, *shares), 2,
              'share_inputs must be at most the examples of every client, got 13')
    rows = [f'{i % 5},{i % 4},{1 + 2 * (i % 3)}' for i in range(60)]
    (ivory.folder / 'gaps.csv').write_text('\n'.join(['width,height,class', *rows]) + '\n')
    gaps = ivory('validate', file, '--only', 'noisy', '--set', 'data.file=gaps.csv', 'data.client=""', 'data.public=0',
                 'partition.kind=iid', 'clients.count=4')
    check('classes without examples are named', gaps.returncode == 0 and
          'ivory: warning: [data] 3 of 6 classes have no training examples: 0, 2, 4;' in gaps.stderr, said(gaps))


def test_holdouts(ivory, file):
    print('-- holdouts')
    for verb in (('validate',), ('run', '--quiet')):
        done = ivory(verb[0], file, *verb[1:], '--set', 'partition.holdout=0.001')
        check(f'{verb[0]} says once how many clients hold nothing out', done.returncode == 0 and
              done.stderr.count('4 of 4 clients have no held-out examples') == 1 and
              done.stderr.count('warning') == 1, said(done))
    with h5py.File(ivory.folder / 'runs/held-one-seed1.h5') as log:
        check('their metrics are those of what they train on', (log['clients/accuracy'][-1] >= 0).all(), log['clients/accuracy'][:])
    own = {}
    for clients in ('holdout', 'train'):
        done = ivory('run', file, '--quiet', '--only', 'one', '--set', 'partition.holdout=0.2', 'data.label_noise=0.99',
                     'rounds=10', f'evaluation.clients={clients}', '--out', clients)
        check(f'run with label noise, clients = {clients}', done.returncode == 0 and done.stderr == '', said(done))
        with h5py.File(ivory.folder / clients / 'held-one-seed1.h5') as log:
            own[clients], test = log['clients/accuracy'][-1].mean(), log['rounds/accuracy'][-1]
    check('held-out examples are test data, with their true labels', own['holdout'] < 0.2 and test < 0.2 and
          own['train'] > 0.8, (own, test))


def test_place(ivory, scenario):
    """Data beside the scenario are found again from the log, wherever that is and wherever one stands."""
    print('-- data beside the scenario')
    place, away = ivory.folder / 'place', ivory.folder / 'away'
    place.mkdir()
    rows = [f'{i % 7 - 3},{"abcd"[i % 4]},{(i * i) % 5 / 2},{i % 3}' for i in range(150)]
    (place / 'beside.csv').write_text('\n'.join(['height,place,width,class', *rows]) + '\n')
    file = place / 'beside.toml'
    file.write_text(scenario.replace('own.csv', 'beside.csv'))
    for seed in (1, 2):
        exits('run', ivory('run', 'place/beside.toml', '--only', 'noisy', '--seed', seed, '--out', 'away', '--quiet', '--set',
                           'data.seed=1', 'partition.seed=1'), 0)
    logs = [away / f'own-noisy-seed{seed}.h5' for seed in (1, 2)]
    check('the log has the folder', root_of(logs[0])[0]['scenario_folder'] == str(place), root_of(logs[0])[0])
    check('which is no part of the scenario', str(place) not in root_of(logs[0])[0]['scenario'])
    exits('compare --from --ensemble', ivory('compare', '--from', *logs, '--ensemble', '--threads', 1), 0, 'deep ensembles')
    exits('--threads without work', ivory('compare', '--from', *logs, '--threads', 1), 2, '--threads', '--ensemble')
    exits('replay', ivory('replay', logs[0], '--round', 1, '--client', 0), 0)
    with h5py.File(logs[0], 'r+') as log:
        log['rounds_complete'][...] = 1
    done = ivory('run', '--resume', logs[0])
    exits('run --resume', done, 0, 'goes on after round 0')
    place.rename(ivory.folder / 'gone')
    exits('the folder is there no more: it is named', ivory('compare', '--from', *logs, '--ensemble'), 2,
          str(place / 'beside.csv'), str(away / 'beside.csv'), 'IVORY_DATA_DIR')
    (ivory.folder / 'gone' / 'beside.csv').rename(away / 'beside.csv')
    exits('beside the log they are found too', ivory('compare', '--from', *logs, '--ensemble'), 0, 'deep ensembles')


def test_list(ivory):
    print('-- list')
    exits('list datasets', ivory('list', 'datasets'), 0, 'cifar10', 'cifar100', 'leaf', 'csv', 'label_noise', 'public')
    exits('list datasets csv', ivory('list', 'datasets', 'csv'), 0, 'targets', 'leave_out')
    exits('list scenario evaluation.ood', ivory('list', 'scenario', 'evaluation.ood'), 0, 'may be left out', 'limit_test')


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        ivory = Ivory(str(pathlib.Path(binary).resolve()), pathlib.Path(folder))
        file = pathlib.Path(folder) / 'own.toml'
        file.write_text(SCENARIO)
        test_csv(ivory, file)
        test_checks(ivory, file)
        held = pathlib.Path(folder) / 'held.toml'
        held.write_text(CLIENTS)
        test_holdouts(ivory, held)
        test_place(ivory, SCENARIO)
        test_list(ivory)
    print(f'{test_cli.failures} wrong' if test_cli.failures else 'all good')
    return 1 if test_cli.failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
