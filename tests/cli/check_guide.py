#!/usr/bin/env python3
"""The tables of keys in docs/guide.md are those that `ivory list` prints: check_guide.py IVORY SOURCE_DIR [--fix]."""
import pathlib
import re
import subprocess
import sys

# Topic -> the block's first line in the guide; "scenario" has a block for each of its tables.
WHOLE = ('datasets', 'partitions', 'models', 'layers', 'optimizers', 'algorithms')

ivory, source = sys.argv[1], pathlib.Path(sys.argv[2])
guide = source / 'docs' / 'guide.md'


def listed(*topic):
    result = subprocess.run([ivory, 'list', *topic], capture_output=True, text=True, check=True)
    kinds = result.stdout.split('\n\n', 1)[1].rstrip('\n')
    return kinds.split('\n\nkeys of every kind\n')[0]  # those stand in the table's own block


def expected():
    """First line of a block -> its text."""
    blocks = [listed(topic) for topic in WHOLE]
    tables = re.split(r'\n\n', listed('scenario'))
    return {block.split('\n', 1)[0]: block for block in blocks + tables}


def main():
    text = guide.read_text()
    tables = expected()
    found, wrong = set(), []

    def replaced(match):
        name = match[1].split('\n', 1)[0]
        if name not in tables:
            return match[0]
        found.add(name)
        if match[1] != tables[name]:
            wrong.append(name)
        return f'```text\n{tables[name]}\n```'

    fixed = re.sub(r'```text\n(.*?)\n```', replaced, text, flags=re.DOTALL)
    missing = [name for name in ('top level', 'data', 'clients', 'evaluation', 'log') if name not in found]
    if missing:
        print('no table in the guide for:', ', '.join(missing))
    if wrong and '--fix' in sys.argv[3:]:
        guide.write_text(fixed)
        print('rewritten:', ', '.join(wrong))
        return 1 if missing else 0
    for name in wrong:
        print(f'the guide\'s table that begins with "{name}" is not what the program prints; run this with --fix')
    print(f'{len(found)} tables' + ('' if wrong or missing else ' as the program prints them'))
    return 1 if wrong or missing else 0


if __name__ == '__main__':
    sys.exit(main())
