#!/usr/bin/env python3
"""Drives the real program: test_cli.py IVORY SOURCE_DIR. Prints what it checks; exit 77 (skipped) without h5py."""
import fcntl
import json
import math
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

try:
    import h5py
except ImportError:
    print('skipped: h5py is not installed, and the logs cannot be checked without it')
    sys.exit(77)

SCENARIO = '''
name = "small"
seed = 4
rounds = 3
[data]
kind = "blobs"
classes = 3
features = 4
train = 240
test = 90
[partition]
kind = "dirichlet"
[model]
kind = "mlp"
hidden = [5]
[clients]
count = 4
batch = 16
[evaluation]
every = 2
samples = 4
[[compare]]
name = "average"
server.algorithm = "fedavg"
clients.optimizer = { name = "sgd", lr = 0.1 }
[[compare]]
name = "bayes"
server = { algorithm = "vb_admm", temperature = 0.1, damping = 0.5 }
clients.optimizer = { name = "ivon", lr = 0.05, hess_init = 0.1 }
'''
VERBS = ('run', 'compare', 'sweep', 'validate', 'plan', 'list', 'inspect', 'preview', 'influence', 'replay', 'pack', 'verify')
ROUND_LINE = re.compile(r'^(\[\d+/\d+\] )?\S+ seed \d+  round +\d+/\d+  accuracy ', re.MULTILINE)

failures = 0


def check(what, good, detail=''):
    global failures
    print(('ok    ' if good else 'WRONG ') + what)
    if not good:
        failures += 1
        print('      ' + str(detail).strip().replace('\n', '\n      '))


class Ivory:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.environment = {k: v for k, v in os.environ.items() if k not in ('IVORY_DATA_DIR', 'COLUMNS')}

    def __call__(self, *words, **more):
        environment = dict(self.environment, **more.pop('env', {}))
        done = subprocess.run([self.binary, *map(str, words)], cwd=self.folder, env=environment, text=True, timeout=300,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        return done

    def on_terminal(self, columns, *words):
        """Exit code, stdout, and what a terminal of that width got on stderr."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
        process = subprocess.Popen([self.binary, *map(str, words)], cwd=self.folder, env=self.environment, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        shown = b''
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux: every writer has gone
                break
            if not part:
                break
            shown += part
        out = process.stdout.read()
        process.stdout.close()
        os.close(master)
        return process.wait(), out, shown.decode()


def said(done):
    return f'exit {done.returncode}\nstdout: {done.stdout}\nstderr: {done.stderr}'


def exits(what, done, code, *words):
    """The exit code, and for errors that stderr alone has the message."""
    good = done.returncode == code and all(word in done.stdout + done.stderr for word in words)
    if code != 0:
        good = good and done.stderr.startswith('ivory: ') and all(word in done.stderr for word in words)
    check(f'{what}: exit {code}' + (', says ' + ', '.join(map(repr, words)) if words else ''), good, said(done))


def root_of(path):
    with h5py.File(path, 'r') as log:
        attributes = {name: value.decode() if isinstance(value, bytes) else value for name, value in log.attrs.items()}
        return attributes, int(log['rounds_complete'][()].ravel()[0])


def hashes(path):
    with h5py.File(path, 'r') as log:
        return [int(value) for value in log['rounds/state_hash'][()]]


def test_usage(ivory, file):
    print('-- usage, help and bad command lines')
    exits('--version', ivory('--version'), 0, 'ivory ')
    exits('--help', ivory('--help'), 0, 'Examples:', 'Exit codes', *VERBS)
    for verb in VERBS:
        exits(f'{verb} --help', ivory(verb, '--help'), 0, f'ivory {verb}', 'Examples:')
        check(f'{verb} --help fits 120 columns', max(map(len, ivory(verb, '--help').stdout.splitlines())) <= 120)
    exits('no verb', ivory(), 2, 'run', 'compare')
    exits('a misspelt verb', ivory('comprae', file), 2, '"comprae"', 'did you mean "compare"')
    exits('a misspelt option', ivory('run', file, '--threds', 2), 2, '--threds', 'did you mean --threads')
    exits('an option before the verb', ivory('--quiet', 'run', file), 2, '--quiet')
    exits('no FILE', ivory('run'), 2, 'FILE')
    exits('a FILE that is not there', ivory('run', 'nowhere.toml'), 2, 'nowhere.toml')
    exits('two FILEs', ivory('run', file, 'more.toml'), 2, 'more.toml')
    for option, value in (('--threads', 0), ('--threads', 'many'), ('--seed', -1), ('--seed', 1.5), ('--seed', 2**60)):
        exits(f'{option} {value}', ivory('run', file, option, value), 2, option)
    exits('--quiet with --json', ivory('run', file, '--quiet', '--json'), 2, '--quiet', '--json')
    exits('an arm that is not there', ivory('run', file, '--only', 'averge'), 2, 'averge', 'average')
    exits('--only without a name', ivory('run', file, '--only', ','), 2, '--only')
    exits('a key that is not there', ivory('run', file, '--set', 'clients.bach=3'), 2, 'bach', 'batch')
    exits('a value out of range', ivory('run', file, '--set', 'rounds=0'), 2, 'rounds')
    exits('compare without FILE', ivory('compare'), 2, '--from')
    exits('compare with FILE and --from', ivory('compare', file, '--from', 'a.h5'), 2, '--from')
    exits('compare --from with --seeds', ivory('compare', '--seeds', 2, '--from', 'a.h5'), 2, '--from')
    for shard in ('0/2', '3/2', '1', '1/2/3', '-1/2', 'a/b', '1/0', '1/'):
        exits(f'--shard {shard}', ivory('compare', file, f'--shard={shard}'), 2, '--shard')
    check('bad input leaves no output folder', not (ivory.folder / 'runs').exists())


def test_run(ivory, file):
    print('-- run')
    done = ivory('run', file)
    exits('run', done, 0)
    logs = {arm: ivory.folder / f'runs/small-{arm}-seed4.h5' for arm in ('average', 'bayes')}
    check('one log per arm, and nothing else', sorted((ivory.folder / 'runs').iterdir()) == sorted(logs.values()),
          list((ivory.folder / 'runs').iterdir()))
    lines = ROUND_LINE.findall(done.stdout)
    check('one plain line per round and arm on stdout', len(lines) == 6, done.stdout)
    check('a round without evaluation says "-"', 'accuracy -  NLL -' in done.stdout, done.stdout)
    check('the posterior average is shown for the arm that has one',
          len(re.findall(r'^.*bayes seed 4  round 2/3 .*posterior average \d', done.stdout, re.MULTILINE)) == 1 and
          not re.search(r'average seed 4 .*posterior average', done.stdout), done.stdout)
    check('the logs written are listed, with a hint', all(f'runs/small-{a}-seed4.h5' in done.stdout for a in logs) and
          'ivory inspect runs/small-average-seed4.h5' in done.stdout, done.stdout)
    check('neither NaN nor escape sequences are shown', 'nan' not in done.stdout.lower() and '\x1b' not in done.stdout)
    for arm, path in logs.items():
        attributes, complete = root_of(path)
        check(f'{arm}: the log is finished and names its arm', complete == 3 and attributes['seed'] == 4 and
              f'arm = "{arm}"' in attributes['scenario'], (attributes, complete))

    again = ivory('run', file, '--out', 'deep/er', '--seed', 9, '--only', 'bayes', '--threads', 2)
    exits('run with --out --seed --only --threads', again, 0, 'deep/er/small-bayes-seed9.h5')
    check('only that arm ran, with that seed', os.listdir(ivory.folder / 'deep/er') == ['small-bayes-seed9.h5'] and
          root_of(ivory.folder / 'deep/er/small-bayes-seed9.h5')[0]['seed'] == 9)
    one = ivory('run', file, '--out', 'one', '--only', 'bayes,average', '--threads', 1)
    exits('run with two names in --only', one, 0)
    for arm in logs:
        check(f'{arm}: the thread count changes no bit',
              hashes(ivory.folder / f'one/small-{arm}-seed4.h5') == hashes(logs[arm]) != [])

    for words in (('--set', 'rounds=1', 'clients.batch=8', file),
                  (file, '--set', 'rounds=1', '--set', 'clients.batch=8'),
                  (file, '--set=rounds=1', '--set=clients.batch=8')):
        done = ivory('run', *words, '--out', 'set', '--only', 'average')
        text = root_of(ivory.folder / 'set/small-average-seed4.h5')[0]['scenario']
        check(f'--set in the order {" ".join(map(str, words)).replace(str(file), "FILE")}',
              done.returncode == 0 and 'rounds = 1\n' in text and 'batch = 8\n' in text, said(done))
    quiet = ivory('run', file, '--out', 'quiet', '--quiet')
    check('--quiet prints the table alone', quiet.returncode == 0 and quiet.stderr == '' and
          'average' in quiet.stdout and not ROUND_LINE.search(quiet.stdout) and '.h5' not in quiet.stdout, said(quiet))


def test_json(ivory, file):
    print('-- run --json')
    done = ivory('run', file, '--json', '--out', 'json')
    check('exit 0, nothing on stderr', done.returncode == 0 and done.stderr == '', said(done))

    def refuse(word):
        raise ValueError(word + ' is no JSON')

    rows = [json.loads(line, parse_constant=refuse) for line in done.stdout.splitlines()]
    check('one object per round and arm', [(r['arm'], r['seed'], r['round'], r['rounds']) for r in rows] ==
          [(arm, 4, i, 3) for arm in ('average', 'bayes') for i in (1, 2, 3)], done.stdout)
    own = {'scenario', 'arm', 'seed', 'round', 'rounds', 'state_hash'}
    for arm in ('average', 'bayes'):
        with h5py.File(ivory.folder / f'json/small-{arm}-seed4.h5', 'r') as log:
            scalars = {name for name, data in log['rounds'].items() if data.ndim == 1 and data.dtype.kind == 'f' and
                       data.shape == (3,) and not h5py.h5ds.is_scale(data.id)}
            wrong = []
            for row in (r for r in rows if r['arm'] == arm):
                for name in row.keys() - own:
                    value = float(log['rounds'][name][row['round'] - 1])
                    same = row[name] is None if not math.isfinite(value) else row[name] == value
                    if not same:
                        wrong.append((name, row['round'], row[name], value))
                if int(row['state_hash'], 16) != int(log['rounds/state_hash'][row['round'] - 1]):
                    wrong.append(('state_hash', row['round']))
            check(f'{arm}: every number is the log\'s, NaN is null', not wrong, wrong)
            check(f'{arm}: every column of the log is there', scalars - own - {'round'} == rows[0].keys() - own,
                  scalars ^ rows[0].keys())
    bayes = {(r['arm'], r['round']): r['nll_bayes'] for r in rows}
    check('nll_bayes is a number where there is a posterior and an evaluation, else null',
          [key for key, value in bayes.items() if value is not None] == [('bayes', 2), ('bayes', 3)], bayes)


def test_terminal(ivory, file):
    print('-- the live line')
    for columns in (30, 60, 200):
        code, out, shown = ivory.on_terminal(columns, 'run', file, '--device', 'cpu', '--out', 'live', '--set',
                                             'rounds=12')
        longest = max(len(part) for part in re.split(r'[\r\n]+', shown))
        check(f'{columns} columns: exit 0, redrawn in place, never as wide as the terminal',
              code == 0 and shown.count('\r') > 12 and longest < columns, (code, longest, shown))
        check(f'{columns} columns: no escape sequences, one line left per arm',
              '\x1b' not in shown and shown.count('\n') == 2, repr(shown))
        check(f'{columns} columns: stdout has the table and no rounds', 'average' in out and 'round 1/' not in out, out)
        if columns == 60:
            check('60 columns: the time left stays on the line', shown.count('ETA ') == 22, repr(shown))
    check('the wide line has accuracy, NLL, seconds per round and ETA',
          re.search(r'round +\d+/12  accuracy \d+\.\d\d %  NLL \d\.\d+.* m?s/round  ETA ', shown), repr(shown))
    code, out, shown = ivory.on_terminal(100, 'run', file, '--out', 'live', '--quiet')
    check('--quiet shows nothing on the terminal', code == 0 and shown == '', repr(shown))
    code, out, shown = ivory.on_terminal(100, 'run', file, '--out', 'live', '--json')
    check('--json shows nothing on the terminal', code == 0 and shown == '' and out.count('\n') == 6, repr(shown))


def test_failures(ivory, file):
    print('-- failures')
    (ivory.folder / 'blocked/small-average-seed4.h5').mkdir(parents=True)  # a folder where the log should go
    done = ivory('run', file, '--out', 'blocked')
    exits('one arm cannot write its log', done, 1, 'average seed 4 failed', 'small-average-seed4.h5')
    check('the other arm ran and has its table',
          root_of(ivory.folder / 'blocked/small-bayes-seed4.h5')[1] == 3 and 'bayes' in done.stdout, said(done))
    done = ivory('run', file, '--out', 'init', '--set', 'model.init="nowhere.h5"')
    exits('both arms lack a file', done, 2, 'nowhere.h5')
    check('a message that both share is said once',
          done.stderr.count('[model] init') == 1 and 'failed like' in done.stderr,
          done.stderr)
    exits('the output folder cannot be made', ivory('run', file, '--out', file / 'under'), 1, 'under', '--out')
    with open('/dev/full', 'w') as full:
        done = subprocess.run([ivory.binary, 'list', 'scenario'], stdout=full, stderr=subprocess.PIPE, text=True)
    check('standard output that is full: exit 1', done.returncode == 1 and done.stderr.startswith('ivory: '), done)
    done = subprocess.run(['sh', '-c', '"$0" "$@" 2>&-', ivory.binary, 'run', str(file), '--quiet', '--out', 'closed'],
                          cwd=ivory.folder, stdout=subprocess.PIPE)
    check('a closed stderr does not end a run', done.returncode == 0, done)

    diverging = ivory('run', file, '--out', 'diverging', '--only', 'average', '--set', 'clients.optimizer.lr=1e30')
    with h5py.File(ivory.folder / 'diverging/small-average-seed4.h5', 'r') as log:
        refused, rounds = float(log['rounds/refused'][()].sum()), int(log['rounds_complete'][()].ravel()[0])
    check('refused clients: the run goes on, and one warning has the log\'s count', refused > 0 and rounds == 3 and
          diverging.stderr.count('ivory: warning') == 1 and f'{refused:.0f} client visit' in diverging.stderr,
          said(diverging))
    exits('no update was ever usable', ivory('run', file, '--out', 'diverging', '--only', 'average', '--quiet', '--set',
                                             'clients.optimizer.lr=1e38', '--set', 'clients.epochs=20'), 1)


def test_interrupts(ivory, file):
    print('-- interrupts')
    long = ('run', str(file), '--only', 'bayes', '--set', 'rounds=20000', '--set', 'clients.epochs=200', '--set',
            'evaluation.clients="none"', '--out', 'long')

    def start(**more):
        return subprocess.Popen([ivory.binary, *long], cwd=ivory.folder, env=ivory.environment, text=True,
                                stdin=subprocess.DEVNULL, **more)

    for name, number in (('SIGINT', signal.SIGINT), ('SIGTERM', signal.SIGTERM)):
        process = start(stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        shown = process.stdout.readline()
        while shown and not ROUND_LINE.search(shown.splitlines()[-1]):
            shown += process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        _, rounds = root_of(ivory.folder / 'long/small-bayes-seed4.h5')
        check(f'{name}: stops after the round, says so, the log is whole', process.returncode == 128 + number and
              f'stopped after round {rounds} of 20000' in err and rounds >= 1, (process.returncode, rounds, err))
        check(f'{name}: and what another began there is kept',
              ('it is now long/small-bayes-seed4.h5.1; go on' in shown) == (name == 'SIGTERM'), shown)

    process = start(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    process.stdout.close()
    time.sleep(0.3)
    check('a reader that goes away does not end a run', process.poll() is None)
    process.kill()
    process.wait()


def test_validate(ivory, file, source):
    print('-- validate')
    done = ivory('validate', file)
    exits('validate', done, 0, 'ok', 'average', 'bayes', 'fedavg', 'vb_admm', '4-5-3')
    check('it counts the parameters', re.search(r'\b43\b', done.stdout), done.stdout)  # 4*5 + 5 + 5*3 + 3
    check('nothing was run', not (ivory.folder / 'runs-validate').exists() and '.h5' not in done.stdout)
    drawn = ivory('validate', file, '--partition', '--only', 'average')
    exits('validate --partition', drawn, 0, '4 clients')
    check('the map adds at least a row per client', len(drawn.stdout.splitlines()) >= len(done.stdout.splitlines()) + 3,
          drawn.stdout)
    two = ivory('validate', file, '--partition', '--set', 'partition.alpha_labels=0.2')
    check('arms with one partition share one map', two.stdout.count('partition') == 1, two.stdout)
    bad = ivory('validate', file, '--set', 'clients.optimizer.lr=-1')
    exits('a bad value', bad, 2, 'lr')
    absent = ('--set', 'data={kind="idx",directory="absent"}')
    exits('data that are not there: the rest is checked', ivory('validate', file, *absent), 0,
          'ok', 'warning', 'absent')
    large = ivory('validate', file, '--only', 'bayes', '--set', 'server.posterior=full', 'clients.optimizer={name="von"}',
                  'model.hidden=[100000]')
    exits('matrices that do not fit are a warning', large, 0, 'ok', 'warning: bayes: [memory] a run must fit into memory',
          'each precision matrix takes', 'server.posterior = "diagonal"')
    exits('data that are not there, --partition', ivory('validate', file, '--partition', *absent), 2, 'absent')
    for scenario in sorted((source / 'scenarios').glob('*.toml')):
        exits(f'scenarios/{scenario.name}', ivory('validate', scenario), 0, 'ok')


# Where public reference code departs from its paper (docs/methods.md, 14): all off by default, none forgotten.
COMPATIBILITY_FLAGS = {
    'bregman_admm': {'bregman_ref_sign', 'ref_start_identity'},
    'fedadam': {'bias_correct_fedadam'},
    'fedadmm': {'ref_round1_zero_anchor', 'unsquared_prox'},
    'feddyn': {'ref_round1_no_history', 'ref_round1_zero_anchor', 'ref_shared_scalars', 'unsquared_prox'},
    'fedlap': {'ref_shared_scalars', 'unsquared_prox'},
    'fedlap_cov': {'ref_free_start', 'ref_full_data_ggn'},
    'fedprox': {'ref_round1_no_prox', 'unsquared_prox'},
    'vb_admm': {'bregman_ref_sign', 'ref_bayes_eval', 'ref_start_identity'},
    'compatibility flags of other tables': {'clients.keep_opt_state', 'clients.ref_same_seed',
                                            'clients.optimizer (ivon).gsq_times_lambda',
                                            'clients.optimizer (ivon).keep_momentum'},
}


def check_compatibility_flags(listed):
    flags, head, flag, default = {}, '', '', ''
    for line in listed.splitlines():
        if re.match(r'\S', line):
            head = line.strip()
        if option := re.match(r' {4}(\w\S*(?: \(\w+\)\.\w+)?) +\w+ +(\S+)', line):
            flag, default = option.groups()
        if 'compatibility: ' in line:
            flags.setdefault(head, {})[flag] = default
    check('every compatibility flag is listed where it belongs',
          {name: set(of) for name, of in flags.items()} == COMPATIBILITY_FLAGS, flags)
    check('all of them are off', {default for of in flags.values() for default in of.values()} == {'false'}, flags)
    feddyn = listed.split('\nfeddyn\n')[1].split('\n\n')[0]
    check('and FedDyn is not scaled', re.search(r'scaling +text +"none"', feddyn) is not None, feddyn)


def test_list(ivory, source):
    print('-- list')
    topics = ivory('list')
    exits('list', topics, 0, 'algorithms', 'optimizers', 'models', 'layers', 'datasets', 'partitions',
          'scenario')
    for topic, folder in (('algorithms', 'server/algorithms'), ('optimizers', 'clients/optimizers'),
                          ('layers', 'clients/layers')):
        names = sorted(path.stem for path in (source / folder).glob('*.cpp'))
        done = ivory('list', topic)
        heads = re.findall(r'^(\w+)$', done.stdout, re.MULTILINE)
        check(f'list {topic}: {", ".join(names)}', done.returncode == 0 and sorted(heads) == names, said(done))
    exits('list optimizers', ivory('list', 'optimizers'), 0, 'lr', 'default', 'range', 'unit', '0.99999',
          'price | gradsq')
    algorithms = ivory('list', 'algorithms')
    exits('list algorithms', algorithms, 0, 'temperature', 'damping', 'bregman_ref_sign')
    check_compatibility_flags(algorithms.stdout)
    exits('list datasets', ivory('list', 'datasets'), 0, 'idx', 'hdf5', 'synthetic', 'blobs', 'divide_by', 'required')
    exits('list partitions', ivory('list', 'partitions'), 0, 'iid', 'dirichlet', 'classes', 'natural', 'on_shortage')
    exits('list scenario', ivory('list', 'scenario'), 0, 'rounds', 'participation', 'target_accuracy',
          'posterior_every', 'algorithm')
    one = ivory('list', 'optimizers', 'adam')
    exits('list optimizers adam', one, 0, 'epsilon')
    check('that one only', 'momentum' not in one.stdout, one.stdout)
    lines = [line for topic in ('algorithms', 'optimizers', 'datasets', 'partitions')
             for line in ivory('list', topic).stdout.splitlines()]
    check('tables stay within 120 columns', max(map(len, lines)) <= 120, max(lines, key=len))
    exits('a misspelt topic', ivory('list', 'optimiser'), 2, 'optimizers')
    exits('a misspelt name', ivory('list', 'optimizers', 'adan'), 2, 'did you mean "adam"')


def test_inspect(ivory, file):
    print('-- inspect')
    ivory('run', file, '--out', 'look', '--quiet')
    exits('inspect', ivory('inspect', 'look/small-bayes-seed4.h5'), 0, 'small', 'bayes', 'vb_admm')
    both = ivory('inspect', 'look/small-average-seed4.h5', 'look/small-bayes-seed4.h5')
    exits('inspect of two', both, 0, 'fedavg', 'vb_admm')
    exits('inspect without a log', ivory('inspect'), 2, 'LOG')
    exits('inspect of something else', ivory('inspect', file), 2, file.name)
    exits('inspect of nothing', ivory('inspect', 'nowhere.h5'), 2, 'nowhere.h5')


def main(binary, source):
    with tempfile.TemporaryDirectory() as folder:
        ivory = Ivory(str(pathlib.Path(binary).resolve()), pathlib.Path(folder))
        source = pathlib.Path(source).resolve()
        file = pathlib.Path(folder) / 'small.toml'
        file.write_text(SCENARIO)
        test_usage(ivory, file)
        test_run(ivory, file)
        test_json(ivory, file)
        test_terminal(ivory, file)
        test_failures(ivory, file)
        test_interrupts(ivory, file)
        test_validate(ivory, file, source)
        test_list(ivory, source)
        test_inspect(ivory, file)
    print(f'{failures} wrong' if failures else 'all good')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2]))
