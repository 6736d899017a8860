#!/usr/bin/env python3
"""Devices and plans on the command line: test_cli_devices.py IVORY. Skipped (77) like test_cli.py."""
import pathlib
import sys
import tempfile

import test_cli
from test_cli import SCENARIO, Ivory, check, exits, hashes, said


def test_devices(ivory, file):
    print('-- devices and plan')
    cpu = ivory('run', file, '--out', 'cpu', '--device', 'cpu', '--only', 'bayes')
    check('--device cpu: exit 0, nothing on stderr', cpu.returncode == 0 and cpu.stderr == '', said(cpu))
    auto = ivory('run', file, '--out', 'auto', '--device', 'auto', '--only', 'bayes')
    has_gpu = 'on the CPU' not in auto.stderr
    check('--device auto: exit 0, at most one line of why', auto.returncode == 0 and auto.stderr.count('\n') <= 1, said(auto))
    for words in (('--quiet',), ('--json',)):
        silent = ivory('run', file, '--out', 'auto', '--device', 'auto', '--only', 'bayes', *words)
        check(f'--device auto {words[0]}: nothing on stderr', silent.returncode == 0 and silent.stderr == '', said(silent))
    if not has_gpu:
        both = [hashes(ivory.folder / name / 'small-bayes-seed4.h5') for name in ('cpu', 'auto')]
        check('auto without a GPU is the CPU, bit for bit', both[0] == both[1], both)
        for device in ('cuda', 'cuda:0', 'cuda:0,cuda:0', 'cuda:0,1'):
            exits(f'--device {device} without a GPU', ivory('run', file, '--device', device), 2, '[device]', '--device cpu')
    for device in ('gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'cuda:0,', 'cpu,cuda:0', '0'):
        exits(f'--device {device}', ivory('run', file, '--device', device), 2, '--device must be', device)
    for block in (0, -1, 'many', 65536):
        exits(f'--block {block}', ivory('run', file, '--block', block), 2, '--block')
    exits('tf32 on the CPU', ivory('run', file, '--device', 'cpu', '--set', 'clients.products="tf32"'), 2, '[clients] products',
          'tf32')
    exits('unknown products', ivory('run', file, '--set', 'clients.products="fp8"'), 2, 'products', 'fp8')

    # 4*5 + 5 + 5*3 + 3 weights; fedavg sends one vector each way and vb_admm two, of 4 clients
    plan = ivory('plan', file, '--device', 'cpu', '--threads', 1)
    check('plan: exit 0, parameters, bytes and time of both arms', plan.returncode == 0 and
          plan.stdout.count('43, 172 bytes per vector') == 2 and '688 bytes down, 688 bytes up' in plan.stdout and
          '1.3 KiB down, 1.3 KiB up' in plan.stdout and plan.stdout.count('time per round') == 2, said(plan))
    far = ivory('plan', file, '--gpu-memory', 1)
    check('plan --gpu-memory: blocks of all clients, no time', far.returncode == 0 and 'in blocks of 4' in far.stdout and
          far.stdout.count('not measured') == 2, said(far))
    small = ivory('plan', file, '--gpu-memory', 1, '--block', 3)
    check('plan --block', small.returncode == 0 and '3 in blocks of 3' in small.stdout, said(small))
    exits('plan for what cannot fit', ivory('plan', file, '--gpu-memory', 0.001, '--set', 'model.hidden=[4000]'), 2,
          '[memory]', 'free')
    exits('plan for two devices', ivory('plan', file, '--gpu-memory', 1, '--device', 'cpu'), 2, '--gpu-memory')
    exits('plan without a scenario', ivory('plan', 'nowhere.toml'), 2, 'nowhere.toml')
    big = ivory('run', file, '--only', 'bayes', '--out', 'cpu', '--set', 'model.hidden=[100000,100000]')
    exits('a run that cannot fit into memory', big, 2, '[memory]', 'available')
    check('and the finished log of that name is where it was', hashes(ivory.folder / 'cpu/small-bayes-seed4.h5') and
          not (ivory.folder / 'cpu/small-bayes-seed4.h5.1').exists())


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        ivory = Ivory(str(pathlib.Path(binary).resolve()), pathlib.Path(folder))
        file = pathlib.Path(folder) / 'small.toml'
        file.write_text(SCENARIO)
        test_devices(ivory, file)
    print(f'{test_cli.failures} wrong' if test_cli.failures else 'all good')
    return 1 if test_cli.failures else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
