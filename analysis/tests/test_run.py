"""open_run against plain h5py on logs of the program: finished, unfinished, in the making, damaged."""
import pathlib
import shutil
import subprocess
import time

import support
from support import LogTest, write_logs

import h5py
import numpy as np

import ivory_logs
from ivory_logs import LogError, open_run, plots

SETTINGS = ('rounds=4', 'log.sites=every', 'log.posterior_every=2', 'evaluation.clients_every=2', 'evaluation.curve=true',
            'evaluation.every=2', 'partition.holdout=0.2', 'data.label_noise=0.1', 'evaluation.samples=4')


class Reading(LogTest):
    @classmethod
    def make(cls):
        cls.fedavg, cls.vb = write_logs(cls.folder, settings=SETTINGS)

    def setUp(self):
        self.run_ = open_run(self.vb)
        self.addCleanup(self.run_.close)
        self.file = h5py.File(self.vb)
        self.addCleanup(self.file.close)

    def test_header(self):
        run = self.run_
        self.assertEqual((run.name, run.arm, run.title, run.seed, run.finished),
                         ('quickstart', 'vb-admm', 'vb-admm', 1, True))
        self.assertEqual(set(run.header), set(self.file.attrs))
        self.assertEqual(run.header['scenario'], self.file.attrs['scenario'].decode())
        self.assertEqual(run.scenario['log']['posterior_every'], 2)

    def test_rounds(self):
        rounds = self.run_.rounds
        self.assertEqual(rounds.index.tolist(), [1, 2, 3, 4])
        expected = {name for name, data in self.file['rounds'].items()
                    if data.ndim == 1 and not h5py.h5ds.is_scale(data.id)}
        self.assertEqual(set(rounds.columns), expected)
        for name in rounds:
            np.testing.assert_array_equal(rounds[name], self.file[f'rounds/{name}'])
        self.assertTrue(rounds['accuracy'].isna()[1] and not rounds['accuracy'].isna()[2])
        self.assertEqual(rounds['state_hash'].dtype, np.uint64)
        self.assertEqual(rounds.attrs['units']['nll'], 'nat')
        confusion = self.run_.round_arrays['confusion']
        self.assertEqual(confusion.dims, ('round', 'true_class', 'predicted_class'))
        self.assertEqual(confusion.sel(round=4, true_class=3, predicted_class=5).item(),
                         self.file['rounds/confusion'][3, 3, 5])
        self.assertEqual(self.run_.round_arrays['bin_sum'].values.tolist(), ['examples', 'confidence', 'correct'])
        self.assertEqual(self.run_.curve.index.tolist(), [1, 2, 3, 4])
        self.assertEqual(self.run_.curve['accuracy'].iloc[-1], rounds['accuracy_bayes'].iloc[-1])

    def test_clients(self):
        clients = self.run_.clients
        self.assertNotIn('site_mean', clients)
        self.assertEqual(clients['accuracy'].dims, ('evaluation_round', 'client'))
        self.assertEqual(clients['participation'].dims, ('round', 'client'))
        np.testing.assert_array_equal(clients['evaluation_round'], [2, 4])
        for name in clients:
            np.testing.assert_array_equal(clients[name], self.file[f'clients/{name}'])

    def test_partition(self):
        part = self.run_.partition
        self.assertEqual(part.hash, self.run_.header['partition_hash'])
        seen = []
        for client in range(10):
            train, holdout = part.train_rows(client), part.holdout_rows(client)
            self.assertEqual(len(train), part.class_counts.loc[client].sum())
            self.assertEqual(len(holdout), self.run_.clients['holdout_examples'].sel(client=client))
            seen += [*train, *holdout]
        self.assertEqual(len(set(seen)) + part.unused, 1497)
        self.assertGreater(len(part.flipped), 50)
        self.assertTrue(part.flipped.index.is_monotonic_increasing)
        with self.assertRaisesRegex(LogError, 'client must be in 0 .. 9, got 10'):
            part.train_rows(10)

    def test_posterior(self):
        last, first = self.run_.posterior(), self.run_.posterior(2)
        self.assertEqual((last.round, first.round, self.run_.posterior(-2).round), (4, 2, 2))
        self.assertEqual({name: value.shape for name, value in last.mean.items()},
                         {'0.weight': (50, 64), '0.bias': (50,), '2.weight': (10, 50), '2.bias': (10,)})
        np.testing.assert_array_equal(np.concatenate([v.ravel() for v in last.precision.values()]),
                                      self.file['posterior/precision'][1])
        np.testing.assert_array_equal(first.mean['2.weight'][3, 7], self.file['posterior/mean'][0, 3250 + 3 * 50 + 7])
        with open_run(self.fedavg) as point:
            self.assertIsNone(point.posterior().precision)
        with self.assertRaisesRegex(LogError, 'round must be one of 2, 4, or -1 for the last, got 3'):
            self.run_.posterior(3)

    def test_state_dict(self):
        state = self.run_.to_state_dict()
        self.assertEqual(state['0.weight'].dtype, np.float32)
        np.testing.assert_array_equal(state['2.bias'], self.run_.posterior().mean['2.bias'])
        try:
            import torch
        except ImportError:
            with self.assertRaisesRegex(ImportError, 'needs PyTorch, which is not installed'):
                self.run_.to_state_dict(torch=True)
        else:
            net = torch.nn.Sequential(torch.nn.Linear(64, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10))
            net.load_state_dict(self.run_.to_state_dict(torch=True))
            np.testing.assert_array_equal(net[2].bias.detach().numpy(), state['2.bias'])

    def test_sites(self):
        sites = self.run_.sites(2)
        self.assertEqual(sites.attrs['round'], 2)
        for name in ivory_logs.run.SITES:
            self.assertEqual(sites[name].dims, ('client', 'parameter'))
            np.testing.assert_array_equal(sites[name], self.file[f'clients/{name}'][0])
        self.assertEqual(set(self.run_.sites(names=['site_precision'])), {'site_precision'})
        self.assertEqual(self.run_.by_name(sites['mean'])['0.weight'].shape, (10, 50, 64))

    def test_unfinished(self):
        """A copy whose run was killed after round 3: nothing of later rounds is given out, whatever stands there."""
        path = self.folder / 'killed.h5'
        shutil.copy(self.vb, path)
        with h5py.File(path, 'r+') as file:
            file['rounds_complete'][()] = 3
        with open_run(path) as run:
            self.assertFalse(run.finished)
            self.assertEqual(run.rounds.index.tolist(), [1, 2, 3])
            self.assertEqual(run.round_arrays.sizes['round'], 3)
            self.assertEqual((run.clients.sizes['round'], run.clients.sizes['evaluation_round']), (3, 1))
            self.assertEqual((run.posterior().round, run.sites().attrs['round']), (2, 2))
        with h5py.File(path, 'r+') as file:
            file['rounds_complete'][()] = 0
        with open_run(path) as run:
            self.assertEqual((len(run.rounds), run.clients.sizes['evaluation_round'], run.has_sites), (0, 0, False))
            self.assertEqual(run.partition.class_counts.shape, (10, 10))
            with self.assertRaisesRegex(LogError, 'a round of /posterior/round must be finished, got 0 finished rounds'):
                run.posterior()

    def test_while_it_is_written(self):
        log = self.folder / 'live' / 'quickstart-vb-admm-seed1.h5'
        program = subprocess.Popen(
            [support.PROGRAM, 'run', 'scenarios/quickstart.toml', '--only', 'vb-admm', '--set', 'rounds=3000', '--set',
             'log.posterior_every=0', '--out', str(log.parent), '--quiet', '--device', 'cpu', '--threads', '1'],
            cwd=support.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until, counts = time.monotonic() + 60, []
            while time.monotonic() < until and len(set(counts)) < 3:
                time.sleep(0.05)
                if log.exists():
                    with open_run(log) as run:
                        rounds = run.rounds
                        self.assertEqual(len(rounds), run.rounds_complete)
                        self.assertTrue(rounds['accuracy'].notna().all() and (rounds['state_hash'] != 0).all())
                        self.assertTrue((run.clients['participation'] == 1).all())
                        counts.append(len(rounds))
        finally:
            program.kill()
            program.wait()
        self.assertGreaterEqual(len(set(counts)), 3, f'rounds seen: {counts}')
        with open_run(log) as run:  # killed
            self.assertGreaterEqual(len(run.rounds), counts[-1])


class Damage(LogTest):
    @classmethod
    def make(cls):
        cls.good, = write_logs(cls.folder, arms='fedavg', settings=('rounds=2',))

    def damaged(self, change):
        path = self.folder / 'damaged.h5'
        shutil.copy(self.good, path)
        with h5py.File(path, 'r+') as file:
            change(file)
        return path

    def expect(self, message, path, use=lambda run: None):
        with self.assertRaisesRegex(LogError, message) as caught:
            with open_run(path) as run:
                use(run)
        self.assertIn(str(path), str(caught.exception))

    def test_no_log_at_all(self):
        self.expect('a log must exist, got no such file', self.folder / 'none.h5')
        text = self.folder / 'text.h5'
        text.write_text('rounds')
        self.expect('must be a whole HDF5 file', text)
        other = self.folder / 'other.h5'
        h5py.File(other, 'w').close()
        self.expect('must have the attribute format_version, got none', other)

    def test_cut_off(self):
        cut = self.folder / 'cut.h5'
        cut.write_bytes(pathlib.Path(self.good).read_bytes()[:-5000])
        self.expect('must be a whole HDF5 file, got ".*truncated.*copy it again', cut)

    def test_attributes(self):
        self.expect('format_version must be 1, got 2', self.damaged(lambda f: f.attrs.modify('format_version', 2)))
        self.expect('must have the attribute seed, got none', self.damaged(lambda f: f.attrs.pop('seed')))
        self.expect('attribute clients must be a whole number',
                    self.damaged(lambda f: f.attrs.create('clients', 'ten')))
        self.expect('attribute scenario must be TOML', self.damaged(lambda f: f.attrs.create('scenario', np.bytes_('a = '))),
                    lambda run: run.scenario)

    def test_datasets(self):
        def too_many(file):
            file['rounds_complete'][()] = 3
        self.expect('it must be in 0 .. 2 .the attribute rounds., got 3, in /rounds_complete', self.damaged(too_many))
        self.expect('must have the dataset /rounds_complete', self.damaged(lambda f: f.pop('rounds_complete')))
        self.expect('must have the group /rounds', self.damaged(lambda f: f.pop('rounds')), lambda run: run.rounds)
        self.expect('must have the dataset /posterior/mean', self.damaged(lambda f: f['posterior'].pop('mean')),
                    lambda run: run.posterior())

        def shorter(file):
            del file['clients/steps']
            short = file['clients'].create_dataset('steps', data=np.zeros((2, 9), np.float32))
            for axis, name in enumerate(('round', 'client')):
                short.dims[axis].attach_scale(file[f'clients/{name}'])
        self.expect('must be as long as its axis client', self.damaged(shorter), lambda run: run.clients)

        def backwards(file):
            file['rounds/round'][:] = [2, 1]
        self.expect('rounds must increase', self.damaged(backwards), lambda run: run.rounds)

        def beyond(file):
            file['partition/train_count'][3] = 5000
        self.expect('must lie in train_index', self.damaged(beyond), lambda run: run.partition)

        def gap(file):
            file['parameters/offset'][1] += 1
        self.expect('slices must fill 3760 parameters', self.damaged(gap), lambda run: run.posterior())

    def test_what_was_not_recorded(self):
        self.expect('sites must be recorded.*log.sites=last', self.good, lambda run: run.sites())


class PartsAndPreviews(LogTest):
    """Logs of some layers, in float16, with previews."""

    @classmethod
    def make(cls):
        settings = ('rounds=2', 'log.posterior_every=1', 'log.sites=every', 'log.layers=["2", "0.bias"]',
                    'log.storage="float16"', 'log.previews=["average", "pvi"]')
        cls.part, = write_logs(cls.folder / 'part', arms='vb-admm', settings=settings)
        cls.whole, = write_logs(cls.folder / 'whole', arms='vb-admm', settings=settings[:3])

    def test_layers(self):
        with open_run(self.part) as part, open_run(self.whole) as whole:
            own, all_layers = part.posterior(), whole.posterior()
            names = ['0.bias', '2.weight', '2.bias']
            self.assertEqual(list(own.mean), names)
            for name in names:
                for kind in ('mean', 'precision'):
                    values, expected = getattr(own, kind)[name], getattr(all_layers, kind)[name]
                    self.assertEqual((values.dtype, values.shape), (np.float32, expected.shape))
                    np.testing.assert_array_equal(values, expected.astype(np.float16).astype(np.float32))
            sites = part.by_name(part.sites()['site_mean'].values)
            whole_sites = whole.by_name(whole.sites()['site_mean'].values)
            for name in names:
                np.testing.assert_array_equal(sites[name], whole_sites[name].astype(np.float16))
            self.assertEqual(len(part.slices), 4)
            plots.site_precisions(part)
            plots.posterior_precisions(part)

    def test_previews(self):
        with open_run(self.part) as part, open_run(self.whole) as whole, h5py.File(self.part) as file:
            self.assertIsNone(whole.previews)
            self.assertEqual(part.previews['accuracy'].dims, ('round', 'rule'))
            self.assertEqual(part.previews['rule'].values.tolist(), ['average', 'pvi'])
            self.assertEqual(part.previews['nll'].sel(round=2, rule='pvi').item(), file['previews/nll'][1, 1])
            self.assertTrue(np.isfinite(part.previews['nll']).all())


if __name__ == '__main__':
    support.main()
