#!/usr/bin/env python3
"""A log is read by h5py and xarray alone: names, axes, scales, units, attributes, rounds to come.

test_log_reads.py LOG           checks a log of any run
test_log_reads.py LOG PROGRAM   lets PROGRAM (write_sample_log) write several logs there and checks each

Exit code 77 (skipped) where h5py, xarray or h5netcdf is missing.
"""
import subprocess
import sys

try:
    import h5py
    import numpy as np
    import xarray as xr
    import h5netcdf  # noqa: F401  xarray's engine
except ImportError as error:
    print(f'skipped: {error}')
    sys.exit(77)

CLASS_METRICS = ('accuracy', 'nll', 'ece', 'brier', 'entropy')
METRICS = (*CLASS_METRICS, 'rmse')
DETECTION = ('auroc', 'aupr_in', 'aupr_out', 'fpr95', 'detection_error')
SITES = ('mean', 'precision', 'site_mean', 'site_precision')
TEXTS = ('ivory_version', 'created_by', 'name', 'arm', 'scenario', 'algorithm', 'optimizer', 'device', 'data_checksum',
         'data_description', 'start_hash', 'partition_hash', 'scenario_folder')
NUMBERS = ('format_version', 'seed', 'rounds', 'clients', 'classes', 'bins', 'parameters', 'has_posterior')


def expected_datasets(with_sites, with_noise, with_curve):
    """Path -> (axes, kind of number), as docs/log-format.md has them."""
    rounds, per_round = {}, ('round',)
    for suffix in ('', '_bayes'):
        for metric in METRICS:
            rounds[metric + suffix] = (per_round, 'f')
        for metric in CLASS_METRICS:
            rounds[f'class_{metric}{suffix}'] = (('round', 'true_class'), 'f')
        rounds |= {score + metric + suffix: (per_round, 'f') for score in ('ood_', 'ood_entropy_') for metric in DETECTION}
        rounds['confusion' + suffix] = (('round', 'true_class', 'predicted_class'), 'f')
        rounds['ece_bins' + suffix] = (('round', 'bin', 'bin_sum'), 'f')
    for metric in METRICS:
        rounds[metric + '_bayes_se'] = (per_round, 'f')
        rounds['validation_' + metric] = rounds[f'validation_{metric}_bayes'] = (per_round, 'f')
    for name in ('negative_elbo', 'negative_elbo_se', 'laplace_prior_precision', 'train_loss', 'seconds',
                 'seconds_training', 'seconds_evaluation', 'bytes_up', 'bytes_down', 'participants', 'refused', 'clamped',
                 'precision_gap_closed', 'primal_residual', 'dual_residual', 'site_residual_precision', 'site_residual_mean',
                 'hessian_at_start', 'clip_rate'):
        rounds[name] = (per_round, 'f')
    rounds |= {name: (('round', 'quantile'), 'f') for name in ('kl_server_client', 'effective_step')}
    rounds['state_hash'] = (per_round, 'u')
    clients = {'examples': (('client',), 'i'), 'holdout_examples': (('client',), 'i'),
               'participation': (('round', 'client'), 'i'), 'train_loss': (('round', 'client'), 'f'),
               'steps': (('round', 'client'), 'f')}
    clients |= {metric + suffix: (('evaluation_round', 'client'), 'f') for metric in METRICS for suffix in ('', '_bayes')}
    if with_sites:
        clients |= {name: (('site_round', 'client', 'parameter'), 'f') for name in SITES}
    partition = {'class_counts': (('client', 'class'), 'i')}
    for kind in ('train', 'holdout'):
        partition |= {f'{kind}_offset': (('client',), 'i'), f'{kind}_count': (('client',), 'i'),
                      f'{kind}_index': ((f'{kind}_entry',), 'i')}
    if with_noise:
        partition |= {name: (('flipped_entry',), 'i') for name in ('flipped_index', 'flipped_class')}
    curve = {'curve': {metric: (('samples',), 'f') for metric in METRICS}} if with_curve else {}
    return curve | {
        'rounds': rounds,
        'posterior': {name: (('round', 'parameter'), 'f') for name in ('mean', 'precision')},
        'clients': clients,
        'partition': partition,
        'parameters': {'name': (('slice',), 'S'), 'offset': (('slice',), 'i'), 'size': (('slice',), 'i'),
                       'shape': (('slice', 'axis'), 'i')},
    }


def axis_lengths(attributes):
    size = {name: int(attributes[name]) for name in NUMBERS if name != 'seed'}
    classes = size['classes']
    return {'true_class': classes, 'predicted_class': classes, 'class': classes, 'bin': size['bins'], 'bin_sum': 3,
            'client': size['clients'], 'parameter': size['parameters']}


def is_fixed_text(attribute_id):
    kind = attribute_id.get_type()
    return isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str() and \
        kind.get_strpad() == h5py.h5t.STR_NULLPAD and attribute_id.shape == ()


def text_of(item, name):
    assert is_fixed_text(h5py.h5a.open(item.id, name.encode())), f'{item.name}: {name} is no fixed-length text'
    return item.attrs[name].decode('utf-8')


def check_header(file):
    for name in TEXTS:
        text_of(file, name)
    assert set(file.attrs) == set(TEXTS) | set(NUMBERS), sorted(set(file.attrs) ^ (set(TEXTS) | set(NUMBERS)))
    assert file.attrs['format_version'] == 1
    assert file.attrs['seed'].dtype == np.uint64
    assert text_of(file, 'created_by') == 'ivory ' + text_of(file, 'ivory_version')
    scenario = text_of(file, 'scenario')
    assert f'name = "{text_of(file, "name")}"' in scenario and '[evaluation]' in scenario
    for name in ('data_checksum', 'partition_hash'):
        assert len(text_of(file, name)) == 16 and int(text_of(file, name), 16) >= 0
    with open(file.filename, 'rb') as raw:
        assert raw.read(9) == b'\x89HDF\r\n\x1a\n\x00', 'not an HDF5 file with the old superblock'
    complete = file['rounds_complete']
    assert complete.shape == () and 0 <= complete[()] <= file.attrs['rounds']


def check_plain(dataset):
    """What every dataset has: a unit, a meaning, one contiguous place or none."""
    for name in ('units', 'long_name'):
        assert text_of(dataset, name), f'{dataset.name}: empty {name}'
    properties = dataset.id.get_create_plist()
    assert properties.get_layout() == h5py.h5d.CONTIGUOUS, dataset.name
    assert dataset.chunks is None and dataset.compression is None


def check_scale(group, name, attributes):
    scale = group[name]
    assert h5py.h5ds.is_scale(scale.id), f'{scale.name} is no scale'
    assert h5py.h5ds.get_scale_name(scale.id).decode() == name, scale.name
    check_plain(scale)
    expected = axis_lengths(attributes).get(name)
    if name == 'samples':
        assert (scale[:] == np.arange(1, len(scale) + 1)).all(), scale.name
    elif name == 'round' and group.name != '/posterior':
        assert (scale[:] == np.arange(1, attributes['rounds'] + 1)).all(), scale.name
    elif name.endswith('round'):
        assert len(scale) > 0 and (np.diff(scale[:]) > 0).all() and scale[-1] == attributes['rounds'], scale.name
    elif name == 'bin':
        np.testing.assert_allclose(scale[:], np.arange(1, attributes['bins'] + 1) / attributes['bins'], rtol=1e-15)
    elif name == 'quantile':
        assert list(scale[:]) == [0.05, 0.5, 0.95]
    elif name == 'bin_sum':
        assert list(scale[:]) == [b'examples', b'confidence', b'correct']
    else:
        assert (scale[:] == np.arange(len(scale))).all(), scale.name
    assert expected is None or len(scale) == expected, f'{scale.name}: {len(scale)} entries, expected {expected}'


def check_group(group, expected, attributes):
    scales = set()
    for name, (axes, kind) in expected.items():
        dataset = group[name]
        check_plain(dataset)
        assert dataset.dtype.kind == kind, f'{dataset.name}: {dataset.dtype}'
        assert dataset.ndim == len(axes), f'{dataset.name}: shape {dataset.shape}, axes {axes}'
        for dimension, axis, length in zip(dataset.dims, axes, dataset.shape):
            assert len(dimension) == 1, f'{dataset.name}: axis {axis} has {len(dimension)} scales'
            assert dimension[0] == group[axis] and len(group[axis]) == length, f'{dataset.name}: axis {axis}'
            scales.add(axis)
    for name in scales:
        check_scale(group, name, attributes)
    assert set(group) == set(expected) | scales, sorted(set(group) ^ (set(expected) | scales))


def check_rounds_to_come(file):
    complete = int(file['rounds_complete'][()])
    for path, dataset in (('rounds', file['rounds']), ('clients', file['clients'])):
        for name, values in dataset.items():
            if h5py.h5ds.is_scale(values.id) or values.ndim == 0 or values.dims[0][0].name != f'/{path}/round':
                continue
            rest = values[complete:]
            if values.dtype.kind == 'f':
                assert np.isnan(rest).all(), f'{values.name}: numbers after round {complete}'
            elif name == 'participation':
                assert (rest == -1).all() and values.attrs['_FillValue'] == -1
            else:
                assert name == 'state_hash' and (rest == 0).all() and (values[:complete] != 0).all()
    for group, scale in (('posterior', 'round'), ('clients', 'evaluation_round'), ('clients', 'site_round')):
        if scale not in file[group]:
            continue
        coming = file[group][scale][:] > complete
        for values in file[group].values():
            if not h5py.h5ds.is_scale(values.id) and values.dims[0][0] == file[group][scale]:
                assert np.isnan(values[coming]).all(), values.name


def check_meaning(file):
    """Numbers that have to agree with each other."""
    complete = int(file['rounds_complete'][()])
    assert (file['clients/examples'][:] == file['partition/class_counts'][:].sum(axis=1)).all()
    for kind, counts in (('train', file['clients/examples']), ('holdout', file['clients/holdout_examples'])):
        offset, count = file[f'partition/{kind}_offset'][:], file[f'partition/{kind}_count'][:]
        assert (count == counts[:]).all()
        assert (offset == np.concatenate([[0], np.cumsum(count)[:-1]])).all()
        assert len(file[f'partition/{kind}_index']) == count.sum()
    if 'flipped_entry' in file['partition']:
        rows, before = file['partition/flipped_index'][:], file['partition/flipped_class'][:]
        assert (np.diff(rows) > 0).all() and ((before >= 0) & (before < file.attrs['classes'])).all()
    size, offset, shape = (file[f'parameters/{name}'][:] for name in ('size', 'offset', 'shape'))
    assert size.sum() == file.attrs['parameters'] and (np.where(shape > 0, shape, 1).prod(axis=1) == size).all()
    assert (offset == np.concatenate([[0], np.cumsum(size)[:-1]])).all()
    for name, values in (file['curve'] if 'curve' in file else {}).items():
        if name == 'samples':
            continue
        # A metric that the last round lacks (RMSE of classes) has no curve either.
        written = complete == file.attrs['rounds'] and not np.isnan(file[f'rounds/{name}_bayes'][-1])
        assert (np.isnan(values[:]) != written).all(), values.name
    participation = file['clients/participation'][:complete]
    assert ((participation == 1).sum(axis=1) == file['rounds/participants'][:complete]).all()
    assert ((participation == 2).sum(axis=1) == file['rounds/refused'][:complete]).all()
    assert (np.isnan(file['clients/steps'][:complete]) == (participation == 0)).all()
    if not file.attrs['has_posterior']:
        for path in ('rounds/accuracy_bayes', 'rounds/confusion_bayes', 'rounds/nll_bayes_se', 'posterior/precision'):
            assert np.isnan(file[path][:]).all(), path
            assert file[path].id.get_offset() is None, f'{path} takes space'


def check_xarray(path, expected):
    for group, names in expected.items():
        with xr.open_dataset(path, group=group, engine='h5netcdf') as data:
            for name, (axes, kind) in names.items():
                assert data[name].dims == axes, f'{group}/{name}: {data[name].dims}'
                for axis in axes:
                    assert axis in data.coords and axis in data.indexes, f'{group}: axis {axis} has no coordinate'
                assert data[name].attrs['units'] and data[name].attrs['long_name']
            data.load()
    with xr.open_dataset(path, group='rounds', engine='h5netcdf') as data:
        assert data['round'].values[0] == 1
        assert data['seconds'].dtype == np.float64, 'seconds must stay numbers'
        assert data['state_hash'].dtype == np.uint64
        one = data['confusion'].sel(round=1, true_class=0, predicted_class=1)
        assert one.ndim == 0
    with xr.open_dataset(path, engine='h5netcdf') as data:
        assert int(data['rounds_complete']) >= 0
        assert data.attrs['format_version'] == 1
        assert isinstance(data.attrs['scenario'], str)
    with xr.open_dataset(path, group='clients', engine='h5netcdf') as data, h5py.File(path) as file:
        assert (np.isnan(data['participation'].values) == (file['clients/participation'][:] == -1)).all()


def check(path):
    with h5py.File(path, 'r') as file:
        check_header(file)
        expected = expected_datasets('site_round' in file['clients'], 'flipped_entry' in file['partition'], 'curve' in file)
        assert set(file) == set(expected) | {'rounds_complete'}
        check_plain(file['rounds_complete'])
        for name, datasets in expected.items():
            check_group(file[name], datasets, dict(file.attrs))
        text_of(file['partition'], 'hash')
        assert file['partition'].attrs['repeated'] >= 0 and file['partition'].attrs['unused'] >= 0
        check_rounds_to_come(file)
        check_meaning(file)
    check_xarray(path, expected)


def main(arguments):
    if not 1 <= len(arguments) <= 2:
        print(__doc__)
        return 2
    log = arguments[0]
    if len(arguments) == 1:
        check(log)
        print(f'{log} is as it should be')
        return 0
    for rounds in ('6', '3', '0'):
        for kind in ('posterior', 'point'):
            subprocess.run([arguments[1], log, rounds, kind], check=True)
            check(log)
            with h5py.File(log) as file:
                assert ('flipped_entry' in file['partition']) == (kind == 'posterior')
            print(f'{log}: {rounds} of 6 rounds, {kind}: as it should be')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
