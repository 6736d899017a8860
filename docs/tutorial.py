#!/usr/bin/env python3
"""Runs docs/tutorial.md: writes its files, repeats its commands, and puts their outputs and the pictures into docs/.

    IVORY=build/ivory python3 docs/tutorial.py            # rewrites the outputs and pictures
    IVORY=build/ivory python3 docs/tutorial.py --check    # only runs everything; exit 1 where a command fails

Needs the packages of analysis/README.md; exit 77 (skipped) without them.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'tutorial.md'
IVORY = pathlib.Path(os.environ.get('IVORY', ROOT / 'build' / 'ivory')).resolve()
BLOCK = re.compile(r'```(\w+)\n(.*?)```', re.DOTALL)


def run(command, folder):
    """What the command prints; the page says ./x, which would build first."""
    result = subprocess.run(command.replace('./x ', f'{IVORY} ').replace('python3 ', f'{sys.executable} '), shell=True,
                            cwd=folder, capture_output=True, text=True, timeout=300)
    if result.returncode != 0:
        raise SystemExit(f'{command.strip()} failed with {result.returncode}:\n{result.stdout}{result.stderr}')
    return '\n'.join(line.rstrip() for line in result.stdout.strip('\n').split('\n')) + '\n'


def rewritten(text, folder):
    """The page with the outputs of this run."""
    output = ''

    def handle(match):
        nonlocal output
        kind, body = match.groups()
        file = re.match(r'# file: (\S+)\n', body)
        if file:
            (folder / file[1]).write_text(body)
        if kind == 'sh':
            output = run(body, folder)
        elif kind == 'python':
            output = run(f'python3 {file[1]}', folder)
        elif kind == 'text':
            return f'```text\n{output}```'
        return match[0]

    return BLOCK.sub(handle, text)


def pictures(folder, target):
    sys.path.insert(0, str(ROOT / 'analysis'))
    import ivory_logs
    import ivory_logs.plots
    import matplotlib
    matplotlib.rcParams['svg.hashsalt'] = 'tutorial'  # the same picture, the same bytes
    logs = sorted((folder / 'runs' / 'mine').glob('mine-*.h5'))
    runs = [ivory_logs.open_run(log) for log in logs]
    vb = [run for run in runs if 'vb-admm' in pathlib.Path(run.path).name]
    made = {'accuracy': ivory_logs.plots.metric(runs, 'accuracy'),
            'reliability': ivory_logs.plots.reliability(vb),
            'sites': ivory_logs.plots.site_precisions(vb[0])}
    for name, drawn in made.items():
        figure = getattr(drawn, 'figure', drawn)
        figure.savefig(target / f'tutorial-{name}.svg', bbox_inches='tight', metadata={'Date': None})


def main():
    sys.path.insert(0, str(ROOT / 'analysis'))
    try:
        import ivory_logs.plots  # noqa: F401
    except ImportError as error:
        print(f'skipped: {error}')
        sys.exit(77)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for shared in ('analysis', 'data'):
            (folder / shared).symlink_to(ROOT / shared)
        text = rewritten(PAGE.read_text(), folder)
        check = '--check' in sys.argv[1:]
        pictures(folder, folder if check else ROOT / 'docs' / 'pictures')
        if not check:
            PAGE.write_text(text)
    print('the tutorial runs')


if __name__ == '__main__':
    main()
