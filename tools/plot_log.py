#!/usr/bin/env python3
"""Draws accuracy and NLL over rounds from logs, with plain h5py and matplotlib.

usage: python3 tools/plot_log.py LOG.h5 ... [-o FILE.png]
"""
import argparse

import h5py
import matplotlib
import numpy as np

matplotlib.use('Agg')  # writes files; needs no screen
import matplotlib.pyplot as plt  # noqa: E402

PANELS = [('accuracy', 'test accuracy [%]', 100.0), ('nll', 'test NLL [nat]', 1.0)]


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def read(path):
    """What is drawn of one log; a run that is still going on gives its finished rounds."""
    with h5py.File(path, 'r') as log:
        done = int(log['rounds_complete'][()])
        rounds = log['rounds']
        names = ['round'] + [name + suffix for name, _, _ in PANELS for suffix in ('', '_bayes')]
        return {'arm': text(log.attrs['arm']) or text(log.attrs['name']), 'name': text(log.attrs['name']),
                'seed': int(log.attrs['seed']), 'columns': {name: rounds[name][:done] for name in names}}


def draw(axis, logs, column, factor):
    arms = list(dict.fromkeys(log['arm'] for log in logs))
    for log in logs:
        colour = f'C{arms.index(log["arm"]) % 10}'
        for suffix, style, model in [('', '-', 'mean model'), ('_bayes', '--', 'posterior average')]:
            values = log['columns'][column + suffix] * factor
            evaluated = ~np.isnan(values)
            if not evaluated.any():  # no posterior, or no round yet
                continue
            label = f'{log["arm"]}, {model}'
            if any(line.get_label() == label for line in axis.lines):  # another seed of the same arm
                label = '_'
            axis.plot(log['columns']['round'][evaluated], values[evaluated], style, color=colour, label=label,
                      linewidth=1.5, alpha=0.85)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('logs', nargs='+', metavar='LOG.h5')
    parser.add_argument('-o', '--output', default='curves.png', metavar='FILE.png')
    options = parser.parse_args()
    logs = [read(path) for path in options.logs]

    figure, axes = plt.subplots(1, len(PANELS), figsize=(9, 3.4), constrained_layout=True)
    for axis, (column, title, factor) in zip(axes, PANELS):
        draw(axis, logs, column, factor)
        axis.set_xlabel('round')
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    axes[1].set_yscale('log')
    for ticks in (axes[1].yaxis.set_major_formatter, axes[1].yaxis.set_minor_formatter):
        ticks('{x:g}')
    axes[0].legend(fontsize=8, loc='lower right')
    figure.suptitle(', '.join(dict.fromkeys(log['name'] for log in logs)), fontsize=10)
    figure.savefig(options.output, dpi=120)
    print(f'wrote {options.output}')


if __name__ == '__main__':
    main()
