#!/usr/bin/env python3
"""Fails where clang-format would change a C++ file; with --fix, changes it. Exit code 77 (skipped) without clang-format 14."""
import pathlib
import re
import shutil
import subprocess
import sys

FOLDERS = ('include', 'src', 'kernels', 'clients', 'server', 'tests', 'bench')
VERSION = '14'  # other versions format differently


def clang_format():
    for name in (f'clang-format-{VERSION}', 'clang-format'):
        path = shutil.which(name)
        if path:
            said = subprocess.run([path, '--version'], capture_output=True, text=True, check=True).stdout
            if re.search(rf'version {VERSION}\.', said):
                return path
    return None


def main(root, fix):
    program = clang_format()
    if program is None:
        print(f'skipped: clang-format {VERSION} is not installed')
        return 77
    files = sorted(str(path) for folder in FOLDERS for pattern in ('*.hpp', '*.cpp', '*.cu')
                   for path in (root / folder).rglob(pattern))
    if not files:
        print(f'no C++ file below {root}')
        return 1
    mode = ['-i'] if fix else ['--dry-run', '-Werror', '--ferror-limit=1']
    done = subprocess.run([program, '--style=file', *mode, *files], check=False)
    print(f'{len(files)} files ' + ('as clang-format wants them' if done.returncode == 0 else
                                    'read; ./x lint --fix formats those named above'))
    return 1 if done.returncode else 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), '--fix' in sys.argv[2:]))
