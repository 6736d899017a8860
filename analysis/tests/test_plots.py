"""What the pictures show: the numbers drawn are those of the logs, axes are named with units, requests without data fail."""
import shutil
import unittest

import support
from support import LogTest, write_logs

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from ivory_logs import LogError, compare, open_run, plots
from ivory_logs.plots.style import COLOURS

SETTINGS = ('rounds=3', 'log.sites=last', 'evaluation.samples=4')


class OfLogs(LogTest):
    @classmethod
    def make(cls):
        logs = write_logs(cls.folder, seeds=2, settings=SETTINGS)
        cls.runs = [open_run(path) for path in logs]
        cls.vb = cls.runs[2]
        for run in cls.runs:
            cls.addClassCleanup(run.close)

    def tearDown(self):
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()  # everything can be drawn
        plt.close('all')

    def test_metric(self):
        ax = plots.metric(self.runs, 'accuracy')
        self.assertEqual((ax.get_xlabel(), ax.get_ylabel()), ('round', 'test accuracy [%]'))
        lines = {line.get_label(): line for line in ax.lines}
        self.assertEqual(list(lines), ['fedavg, mean model', 'vb-admm, mean model', 'vb-admm, posterior average'])
        values = 100 * np.stack([run.rounds['accuracy'] for run in self.runs[2:]])
        np.testing.assert_allclose(lines['vb-admm, mean model'].get_ydata(), values.mean(axis=0))
        self.assertEqual(to_hex(lines['vb-admm, mean model'].get_color()).upper(), COLOURS[1])
        band = ax.collections[1].get_paths()[0].vertices[:, 1]
        self.assertAlmostEqual(band.max(), (values.mean(axis=0) + values.std(axis=0, ddof=1)).max())
        values = 100 * np.stack([run.rounds['accuracy'] for run in self.runs[:2]])
        band = plots.metric(self.runs[:2], band='range').collections[0].get_paths()[0].vertices[:, 1]
        self.assertAlmostEqual(band.min(), values.min())
        with self.assertRaisesRegex(LogError, 'must have numbers in the column rmse, got none'):
            plots.metric(self.runs, 'rmse')

    def test_side_by_side(self):
        figure = plots.side_by_side(self.runs, 'nll')
        self.assertEqual([ax.get_title() for ax in figure.axes], ['fedavg', 'vb-admm'])
        self.assertEqual(figure.axes[0].get_ylim(), figure.axes[1].get_ylim())

    def test_arms(self):
        comparison = compare(self.runs)
        ax = plots.arms(comparison, 'ece', 'final')
        self.assertEqual([text.get_text() for text in ax.get_yticklabels()], ['fedavg', 'vb-admm'])
        self.assertEqual(ax.get_xlabel(), 'test ECE [%], last round')
        marks = [container[0].get_xdata()[0] for container in ax.containers]
        rows = comparison.table.query('metric == "ece" and summary == "final"')['mean'].dropna()
        np.testing.assert_allclose(marks, 100 * rows)
        with self.assertRaisesRegex(LogError, 'an arm must have numbers for rmse'):
            plots.arms(comparison, 'rmse')

    def test_diagnostics(self):
        drawn = plots.diagnostics(self.runs)
        labels = [ax.get_ylabel() for ax in drawn.axes if ax.get_visible()]
        self.assertIn('training loss [nat]', labels)
        self.assertIn('sent to the server [bytes per round]', labels)
        self.assertNotIn('refused updates [clients]', labels)  # nothing was refused
        self.assertNotIn('negative ELBO [nat]', labels)  # not asked for

    def test_columns_of_later_logs(self):
        """A column that this version does not know is drawn with the log's unit; residuals are among the diagnostics."""
        path = self.folder / 'later.h5'
        shutil.copy(self.vb.path, path)
        with h5py.File(path, 'r+') as file:
            more = file['rounds'].create_dataset('cavity_residual', data=[3.0, 2.0, 1.0])
            more.dims[0].attach_scale(file['rounds/round'])
            more.attrs['units'], more.attrs['long_name'] = np.bytes_('nat'), np.bytes_('distance to the server')
        with open_run(path) as run:
            self.assertIn('cavity_residual', plots.diagnostics_of([run]))
            ax = plots.metric([run], 'cavity_residual')
        self.assertEqual(ax.get_ylabel(), 'cavity residual [nat]')
        self.assertEqual(ax.lines[0].get_ydata().tolist(), [3, 2, 1])

    def test_residuals(self):
        figure = plots.residuals(self.runs)
        self.assertEqual([ax.get_ylabel() for ax in figure.axes],
                         ['distance [1]', 'server − (prior + sites), relative', 'KL(server, client) [nat]'])
        self.assertEqual([ax.get_yscale() for ax in figure.axes], ['log'] * 3)
        first, sites, kl = ({line.get_label(): line.get_ydata() for line in ax.lines} for ax in figure.axes)
        self.assertEqual(list(first), ['fedavg, primal', 'fedavg, dual', 'vb-admm, primal', 'vb-admm, dual'])
        self.assertEqual(list(sites), ['vb-admm, precision', 'vb-admm, mean'])  # FedAvg has no sites
        self.assertEqual(list(kl), ['vb-admm'])

        def mean(runs, column):
            return np.mean([run.rounds[column] for run in runs], axis=0)
        np.testing.assert_allclose(first['fedavg, primal'], mean(self.runs[:2], 'primal_residual'))
        np.testing.assert_allclose(sites['vb-admm, mean'], mean(self.runs[2:], 'site_residual_mean'))
        quantiles = np.mean([run.round_arrays['kl_server_client'] for run in self.runs[2:]], axis=0)
        np.testing.assert_allclose(kl['vb-admm'], quantiles[:, 1])
        band = figure.axes[2].collections[0].get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose((band.min(), band.max()), (quantiles[:, 0].min(), quantiles[:, 2].max()))
        self.assertEqual(len(plots.residuals(self.runs[:1]).axes), 1)  # FedAvg alone

    def test_logs_without_residuals(self):
        logs = write_logs(self.folder / 'without', settings=('rounds=1', 'log.diagnostics=false', 'evaluation.samples=1'))
        with open_run(logs[0]) as run:
            self.assertFalse(plots.has_residuals([run]))
            with self.assertRaisesRegex(LogError, 'the rounds must have residuals'):
                plots.residuals([run])

    def test_reliability(self):
        bins = plots.bins_of([self.vb], 3, 'mean')
        self.assertEqual(bins[:, 0].sum(), 300)
        self.assertAlmostEqual(plots.calibration_error(bins), self.vb.rounds['ece'][3], places=12)
        both = plots.bins_of(self.runs[2:], -1, 'posterior_average')
        self.assertEqual(both[:, 0].sum(), 600)
        figure = plots.reliability(self.vb)
        self.assertIn(f'ECE {100 * self.vb.rounds["ece"][3]:.2f} %', [text.get_text() for text in figure.axes[0].texts])
        seen = bins[:, 0] > 0
        np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), bins[seen, 2] / bins[seen, 0])
        with self.assertRaisesRegex(LogError, 'ece_bins_bayes must have numbers'):
            plots.reliability(self.runs[0], model='posterior_average')

    def test_clients(self):
        ax = plots.partition(self.vb)
        np.testing.assert_array_equal(ax.images[0].get_array(), self.vb.partition.class_counts)
        self.assertEqual((ax.get_xlabel(), ax.get_ylabel()), ('class', 'client'))
        ax = plots.client_metric(self.vb)
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), self.vb.clients['examples'])
        self.assertEqual(ax.get_ylabel(), 'accuracy [%], own training examples')

    def test_precisions(self):
        ax = plots.site_precisions(self.vb)
        self.assertEqual([text.get_text() for text in ax.get_yticklabels()], list(self.vb.slices.index))
        sites = self.vb.sites()['site_precision'].values[:, -10:]
        medians = [line.get_xdata()[0] for line in ax.lines
                   if len(line.get_xdata()) == 2 and line.get_linewidth() == 1.5]
        self.assertAlmostEqual(medians[-1], np.median(sites), places=5)
        plots.posterior_precisions(self.vb)
        for draw in (plots.site_precisions, plots.posterior_precisions):
            with self.assertRaisesRegex(LogError, 'the method must have a posterior, got fedavg'):
                draw(self.runs[0])

    def test_settings_stay(self):
        before = dict(plt.rcParams)
        plots.metric(self.runs, 'nll')
        self.assertEqual(dict(plt.rcParams), before)


class OfFrames(unittest.TestCase):
    def tearDown(self):
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close('all')

    def test_preview_of_two(self):
        t = np.linspace(0, 1, 5)
        frame = pd.DataFrame({'weight_a': np.tile(1 - t, 2), 'weight_b': np.tile(t, 2), 'accuracy': np.tile(0.5 + 0.1 * t, 2),
                              'method': ['diagonal'] * 5 + ['isotropic'] * 5, 'accuracy_retrained': [0.6] + [np.nan] * 9})
        ax = plots.preview(frame)
        self.assertEqual([line.get_label() for line in ax.lines], ['diagonal', 'isotropic', 'retrained'])
        np.testing.assert_allclose(ax.lines[0].get_ydata(), 50 + 10 * t)
        self.assertEqual(ax.lines[2].get_ydata().tolist(), [60])
        self.assertEqual(ax.get_xlabel(), 'weight of b (of a: 1 minus it)')

    def test_preview_of_three(self):
        grid = [(i / 4, j / 4, (4 - i - j) / 4) for i in range(5) for j in range(5 - i)]
        frame = pd.DataFrame(grid, columns=['weight_a', 'weight_b', 'weight_c'])
        frame['nll'] = frame['weight_a'] ** 2
        self.assertEqual([text.get_text() for text in plots.preview(frame, 'nll').texts], ['a', 'b', 'c'])
        plots.preview(frame.iloc[:2], 'nll')  # too few for areas
        with self.assertRaisesRegex(ValueError, 'add up to 1'):
            plots.preview(frame.assign(weight_a=frame['weight_a'] + 0.5), 'nll')
        with self.assertRaisesRegex(ValueError, '2 or 3 columns weight_NAME and the column accuracy'):
            plots.preview(frame)

    def test_influence(self):
        frame = pd.DataFrame({'client': [0, 1, 2], 'influence': [0.1, -0.7, 0.3], 'retrained': [0.2, -0.6, 0.2]})
        frame.attrs['unit'] = 'nat'
        ax = plots.influence(frame)
        self.assertEqual([text.get_text() for text in ax.get_yticklabels()], ['1', '2', '0'])
        self.assertEqual([bar.get_width() for bar in ax.patches], [-0.7, 0.3, 0.1])
        self.assertEqual(ax.lines[0].get_xdata().tolist(), [-0.6, 0.2, 0.2])
        self.assertEqual(ax.get_xlabel(), 'influence [nat]')
        self.assertEqual(plots.influence(frame, most=2).get_title(), 'the 2 largest of 3 clients')
        with self.assertRaisesRegex(ValueError, 'influence needs a row at least and the columns client, influence'):
            plots.influence(frame.drop(columns='influence'))


if __name__ == '__main__':
    support.main()
