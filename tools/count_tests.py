#!/usr/bin/env python3
"""Reads Meson's testlog.json, names what failed or was skipped, and ends with 'N passed, N failed, N skipped'."""
import json
import pathlib
import sys

PASSED = {'OK', 'EXPECTEDFAIL'}
SKIPPED = {'SKIP', 'IGNORED'}


def main(path):
    passed, failed, skipped = [], [], []
    for line in pathlib.Path(path).read_text(encoding='utf-8').splitlines():
        row = json.loads(line)
        kind = passed if row['result'] in PASSED else skipped if row['result'] in SKIPPED else failed
        kind.append(row['name'])
    for title, names in (('skipped', skipped), ('failed', failed)):
        if names:
            print(f'{title}: ' + ', '.join(names))
    print(f'{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
