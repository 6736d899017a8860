"""What the tests share: logs written by the program itself, and how a test file ends."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'analysis'))
SKIPPED = 77  # exit code that Meson counts as skipped

try:
    import matplotlib
    matplotlib.use('Agg')  # no screen
    import h5py  # noqa: F401
    import pandas  # noqa: F401
    import xarray  # noqa: F401
except ImportError as error:
    print(f'skipped: {error}')
    sys.exit(SKIPPED)


PROGRAM = os.environ.get('IVORY', str(ROOT / 'build' / 'ivory'))


def ivory(*arguments, check=True):
    """Runs the program: that of the environment variable IVORY, or of the build."""
    return subprocess.run([PROGRAM, *map(str, arguments)], cwd=ROOT, check=check, capture_output=True, text=True)


def write_logs(folder, scenario='quickstart', seeds=1, arms='', settings=()):
    """Logs of a few quick rounds, in order of arm and seed."""
    sets = [part for setting in settings for part in ('--set', setting)]
    done = ivory('compare', f'scenarios/{scenario}.toml', '--seeds', seeds, '--out', folder, '--quiet', '--device', 'cpu',
                 '--threads', 2, *(('--only', arms) if arms else ()), *sets, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return sorted(map(str, pathlib.Path(folder).glob('*.h5')))


class LogTest(unittest.TestCase):
    """Tests with a folder of their own and the logs that `make` writes there once."""

    @classmethod
    def setUpClass(cls):
        kept = tempfile.TemporaryDirectory()
        cls.addClassCleanup(kept.cleanup)
        cls.folder = pathlib.Path(kept.name)
        cls.make()

    @classmethod
    def make(cls):
        pass


def main():
    """Runs the file's tests. Exit code 77 when all were skipped; unittest's otherwise."""
    result = unittest.main(exit=False, verbosity=2).result
    # Python 3.12 does not count the tests of a skipped class.
    if result.wasSuccessful() and result.skipped and len(result.skipped) >= result.testsRun:
        sys.exit(SKIPPED)
    sys.exit(not result.wasSuccessful())
