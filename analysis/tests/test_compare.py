"""compare() gives the numbers of `ivory compare --from LOGS --csv`, row by row; Student's t against printed tables."""
import csv
import math
import shutil
import unittest

import support
from support import LogTest, ivory, write_logs

import h5py

import ivory_logs
from ivory_logs.student import inside, two_sided_quantile

OOD = ('evaluation.ood.kind=idx', 'evaluation.ood.directory=digits', 'evaluation.ood.divide_by=8')
SETTINGS = ('rounds=5', 'evaluation.samples=4', 'evaluation.every=2', 'evaluation.clients_every=2',
            'data.validation=0.2', 'evaluation.target_accuracy=0.7', *OOD)


class SameNumbers(LogTest):
    def same(self, logs, baseline=None):
        """Compares every row of the program's CSV with ours; returns the Comparison."""
        path = self.folder / 'table.csv'
        ivory('compare', '--from', *logs, '--csv', path, *(('--baseline', baseline) if baseline else ()))
        ours = ivory_logs.compare(logs, baseline)
        rows = ours.table.assign(minus='', half_width=math.nan).to_dict('records') + ours.differences.to_dict('records')
        titles = list(ours.arms)

        def key(row, arm):
            return (arm, row['model'], row['metric'], row['summary'], row['minus'])
        mine = {key(row, row['arm']): row for row in rows}
        self.assertEqual(len(mine), len(rows))
        with open(path, newline='', encoding='utf-8') as file:
            theirs = list(csv.DictReader(file))
        self.assertEqual(len(theirs), len(rows))
        for row in theirs:
            # The program writes name and arm in columns of their own.
            title = next(t for t in (row['arm'], f'{row["name"]} / {row["arm"]}', row['name']) if t in titles)
            found = mine[key(row, title)]
            for theirs_name, name in (('name', 'name'), ('algorithm', 'algorithm'), ('unit', 'unit')):
                self.assertEqual(found[name], row[theirs_name], key(row, title))
            for theirs_name, name in (('mean', 'mean'), ('standard_deviation', 'standard_deviation'),
                                      ('half_interval_95', 'half_width')):
                self.same_number(found[name], row[theirs_name], (*key(row, title), name))
            self.assertEqual(found['seeds'], int(row['seeds']))
            pairs = [pair.split(':') for pair in row['by_seed'].split(';') if pair]
            self.assertEqual([seed for seed, _ in found['by_seed']], [int(seed) for seed, _ in pairs])
            for (_, value), (_, text) in zip(found['by_seed'], pairs):
                self.same_number(value, text, key(row, title))
        return ours

    def same_number(self, value, text, where):
        if text == '':
            self.assertTrue(math.isnan(value), where)
        else:
            self.assertTrue(math.isclose(value, float(text), rel_tol=1e-12, abs_tol=1e-15), (where, value, text))

    @classmethod
    def make(cls):
        cls.logs = write_logs(cls.folder / 'quick', seeds=3, settings=SETTINGS)

    def test_classification(self):
        ours = self.same(self.logs)
        self.assertEqual((list(ours.arms), ours.baseline, ours.warnings), (['fedavg', 'vb-admm'], 'fedavg', []))
        self.assertEqual(ours.metrics, ('accuracy', 'nll', 'ece', 'brier'))
        self.assertFalse(math.isnan(ours.value('vb-admm', 'posterior_average', 'ood_auroc', 'final')['mean']))
        self.same(self.logs, 'vb-admm')

    def test_seeds_that_differ(self):
        """An arm without one of the seeds, an unfinished run, and a seed that is there twice."""
        ours = self.same([self.logs[0], self.logs[2], *self.logs[3:]])
        self.assertEqual(ours.differences['logs'].unique().tolist(), [2])
        killed = self.folder / 'killed.h5'
        shutil.copy(self.logs[4], killed)
        with h5py.File(killed, 'r+') as file:
            file['rounds_complete'][()] = 3
        ours = self.same([*self.logs[:4], killed, self.logs[5]])
        self.assertEqual(ours.differences['logs'].unique().tolist(), [2])
        self.assertEqual(ours.warnings, [f'unfinished: {killed}, 3 of 5 rounds'])
        ours = self.same([*self.logs, killed])
        self.assertIn(f'vb-admm has seed 2 twice: {self.logs[4]} and {killed}; only the first one counts', ours.warnings)

    def test_one_seed_and_one_arm(self):
        ours = self.same([self.logs[0], self.logs[3]])
        self.assertTrue(ours.differences['half_width'].isna().all())
        self.assertTrue(self.same(self.logs[:3]).differences.empty)

    def test_failed_run(self):
        failed = self.folder / 'failed.h5'
        shutil.copy(self.logs[1], failed)
        with h5py.File(failed, 'r+') as file:
            file['rounds/participants'][:] = 0
        ours = self.same([self.logs[0], failed, *self.logs[3:]])
        self.assertEqual(ours.value('fedavg', '', 'failed', 'share')['mean'], 0.5)
        self.assertRegex(ours.warnings[0],
                         'fedavg: the run of seed 2 failed: .run. some client\'s update must be usable')

    def test_regression_and_several_scenarios(self):
        logs = write_logs(self.folder / 'regression', 'regression', 2, settings=('rounds=3',))
        ours = self.same(logs)
        self.assertEqual(ours.metrics, ('rmse', 'nll'))
        mixed = self.same([*logs, *self.logs])
        self.assertIn('quickstart / vb-admm', mixed.arms)
        self.assertTrue(any('different data' in warning for warning in mixed.warnings))

    def test_settings(self):
        other = write_logs(self.folder / 'other', seeds=1, arms='fedavg', settings=('rounds=2', 'clients.batch=32'))
        warnings = ivory_logs.compare([*self.logs, *other]).warnings
        self.assertTrue(any(w.startswith('the logs have different numbers of rounds: 5') for w in warnings))
        self.assertTrue(any('fedavg puts runs of different settings together: clients.batch = 16' in w for w in warnings))

    def test_bad_requests(self):
        with self.assertRaisesRegex(ValueError, 'baseline must be one of fedavg, vb-admm, got \'adam\''):
            ivory_logs.compare(self.logs, 'adam')
        with self.assertRaisesRegex(ValueError, 'at least one log'):
            ivory_logs.compare([])


class Student(unittest.TestCase):
    def test_tables(self):
        for degrees, expected in ((1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (10, 2.22814),
                                  (30, 2.04227), (120, 1.97993)):
            self.assertAlmostEqual(two_sided_quantile(0.95, degrees), expected, delta=6e-6 * expected)
        self.assertAlmostEqual(two_sided_quantile(0.99, 4), 4.60409, delta=1e-5)

    def test_closed_forms(self):
        self.assertAlmostEqual(two_sided_quantile(0.95, 1), math.tan(0.95 * math.pi / 2), places=10)
        self.assertAlmostEqual(inside(1.7, 2), 1.7 / math.sqrt(2 + 1.7 ** 2), places=14)
        with self.assertRaises(ValueError):
            two_sided_quantile(0.95, 0)


if __name__ == '__main__':
    support.main()
