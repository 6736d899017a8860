#!/usr/bin/env python3
"""What a run says about known failures: test_cli_warnings.py IVORY."""
import json
import pathlib
import subprocess
import sys
import tempfile

SCENARIO = '''
name = "small"
rounds = 3
[data]
kind = "blobs"
classes = 3
features = 4
train = 240
test = 30
[partition]
kind = "iid"
[model]
kind = "mlp"
hidden = [5]
[clients]
count = 2
batch = 10
optimizer = { name = "ivon", lr = 0.05, hess_init = 0.1, beta2 = 0.999 }
[server]
algorithm = "vb_admm"
temperature = 0.1
'''
failures = []


def check(what, good, done):
    print('ok   ' if good else 'WRONG', what)
    if not good:
        failures.append(what)
        print(f'      exit {done.returncode}\n      stdout: {done.stdout}\n      stderr: {done.stderr}')


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / 'small.toml').write_text(SCENARIO, encoding='utf-8')

        def run(*arguments):
            return subprocess.run([binary, 'run', 'small.toml', '--device', 'cpu', '--out', 'logs', *arguments], cwd=folder,
                                  capture_output=True, text=True, check=False)

        ill = ('--set', 'clients.optimizer.clip_radius=1e-9')
        done = run()
        check('a healthy run says nothing', done.returncode == 0 and done.stderr == '', done)
        done = run(*ill)
        check('a failure is told once, and in short at the end', done.returncode == 0 and 'clipped' not in done.stdout and
              done.stderr.count('ivory: warning: small seed 1: ') == 2 and
              done.stderr.count('IVON\'s step are clipped; raise clip_radius') == 1 and
              done.stderr.endswith('in short: steps clipped (round 1, 3 of 3)\n'), done)
        for style in ('--quiet', '--json'):
            done = run(*ill, style)
            check(f'with {style} once, at the end, with the number of rounds', done.returncode == 0 and
                  done.stderr.count('ivory: warning') == 1 and done.stderr.endswith('(shows in 3 of 3 rounds)\n'), done)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        check('--json keeps stdout to itself, with the numbers', [row['clip_rate'] > 0.9 for row in rows] == [True] * 3, done)
        done = run(*ill, '--set', 'log.diagnostics=false')
        check('without diagnostics nothing is known of it', done.returncode == 0 and done.stderr == '', done)
    print('all good' if not failures else f'{len(failures)} wrong')
    return len(failures) > 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
