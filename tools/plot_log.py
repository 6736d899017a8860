#!/usr/bin/env python3
"""Draws accuracy (regression: RMSE) and NLL over rounds from logs, with plain h5py and matplotlib.

Several seeds of an arm become their mean, with their range as a band.

usage: python3 tools/plot_log.py LOG.h5 ... [-o FILE.png]
"""
import argparse

import h5py
import matplotlib
import matplotlib.ticker
import numpy as np

matplotlib.use('Agg')  # writes files; needs no screen
import matplotlib.pyplot as plt  # noqa: E402

NLL = ('nll', 'test NLL [nat]', 1.0)
CLASSIFICATION = [('accuracy', 'test accuracy [%]', 100.0), NLL]
REGRESSION = [('rmse', 'test RMSE', 1.0), NLL]


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def read(path):
    """What is drawn of one log; a run that is still going on gives its finished rounds."""
    with h5py.File(path, 'r') as log:
        done = int(log['rounds_complete'][()])
        rounds = log['rounds']
        names = ['round'] + [name + suffix for name in ('accuracy', 'rmse', 'nll') for suffix in ('', '_bayes')
                             if name + suffix in rounds]
        return {'arm': text(log.attrs['arm']) or text(log.attrs['name']), 'name': text(log.attrs['name']),
                'seed': int(log.attrs['seed']), 'columns': {name: rounds[name][:done] for name in names}}


def draw(axis, logs, column, factor):
    """One line per arm and model: a seed's course, or the mean over seeds with their range as a band."""
    arms = list(dict.fromkeys(log['arm'] for log in logs))
    for number, arm in enumerate(arms):
        seeds = [log['columns'] for log in logs if log['arm'] == arm]
        rounds = min((columns['round'] for columns in seeds), key=len)  # those that every seed has
        for suffix, style, model in [('', '-', 'mean model'), ('_bayes', '--', 'posterior average')]:
            values = np.stack([columns[column + suffix][:len(rounds)] for columns in seeds]) * factor
            evaluated = ~np.isnan(values).any(axis=0)
            if not evaluated.any():  # no posterior, or no round yet
                continue
            x, values = rounds[evaluated], values[:, evaluated]
            axis.plot(x, values.mean(axis=0), style, color=f'C{number % 10}', label=f'{arm}, {model}', linewidth=1.5,
                      alpha=0.85)
            if len(seeds) > 1:
                axis.fill_between(x, values.min(axis=0), values.max(axis=0), color=f'C{number % 10}', alpha=0.15,
                                  linewidth=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('logs', nargs='+', metavar='LOG.h5')
    parser.add_argument('-o', '--output', default='curves.png', metavar='FILE.png')
    options = parser.parse_args()
    logs = [read(path) for path in options.logs]

    regression = all('rmse' in log['columns'] and not np.isnan(log['columns']['rmse']).all() for log in logs)
    panels = REGRESSION if regression else CLASSIFICATION
    figure, axes = plt.subplots(1, len(panels), figsize=(9, 3.4), constrained_layout=True)
    for axis, (column, title, factor) in zip(axes, panels):
        draw(axis, logs, column, factor)
        axis.set_xlabel('round')
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    if not regression:  # a log density may have either sign
        axes[1].set_yscale('log')
        axes[1].yaxis.set_minor_locator(matplotlib.ticker.LogLocator(subs=(2, 3, 5)))
        for ticks in (axes[1].yaxis.set_major_formatter, axes[1].yaxis.set_minor_formatter):
            ticks('{x:g}')
    axes[0].legend(fontsize=8, loc='upper right' if regression else 'lower right')
    title = ', '.join(dict.fromkeys(log['name'] for log in logs))
    if len({log['seed'] for log in logs}) > 1:
        title += ': mean and range over seeds'
    figure.suptitle(title, fontsize=10)
    figure.savefig(options.output, dpi=120)
    print(f'wrote {options.output}')


if __name__ == '__main__':
    main()
