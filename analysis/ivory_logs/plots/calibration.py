"""Reliability diagrams."""
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

from ..errors import LogError
from ..run import open_run
from .style import MODELS, SIZE, colour, style


def bins_of(runs, round=-1, model='mean'):
    """Sums over the test examples by confidence bin, [bin, (examples, confidence, correct)], added over the runs.

    `model`: 'mean' or 'posterior_average'; `round`: a number, or -1 for each run's last evaluated round.
    """
    name = 'ece_bins' + {'mean': '', 'posterior_average': '_bayes'}[model]
    total = 0
    for run in runs:
        bins = run.round_arrays[name]
        known = bins['round'].values[bins.notnull().all(['bin', 'bin_sum']).values]
        if len(known) == 0 or (round != -1 and round not in known):
            raise LogError(f'{name} must have numbers in round {round}', f'rounds {known.tolist()}',
                           f'/rounds/{name} of {run.path}', 'regression and methods without a posterior have none')
        total = total + bins.sel(round=known[-1] if round == -1 else round).transpose('bin', 'bin_sum').values
    return total


def calibration_error(bins):
    """Expected calibration error of such sums, as docs/log-format.md has it."""
    return np.abs(bins[:, 2] - bins[:, 1]).sum() / bins[:, 0].sum()


def reliability(runs, round=-1, model='mean', number=0):
    """Accuracy against confidence in each bin, and how many examples it has, Figure. Several runs are added up.

    `number` chooses the colour.
    """
    runs = [open_run(run) for run in (runs if isinstance(runs, (list, tuple)) else [runs])]
    bins = bins_of(runs, round, model)
    examples, confidence, correct = bins.T
    seen = examples > 0
    width = 1 / len(bins)
    left = np.arange(len(bins)) * width
    with style():
        figure, (ax, below) = plt.subplots(2, 1, sharex=True, figsize=(SIZE[0] * 0.85, SIZE[0] * 0.95),
                                           gridspec_kw={'height_ratios': (3, 1)})
        ax.plot([0, 1], [0, 1], color='0.4', linestyle=':', label='calibrated')
        x, y = confidence[seen] / examples[seen], correct[seen] / examples[seen]
        ax.vlines(x, np.minimum(x, y), np.maximum(x, y), color=colour(number), alpha=0.35, linewidth=4)
        ax.plot(x, y, 'o-', color=colour(number), markersize=4, label=MODELS['' if model == 'mean' else '_bayes'][0])
        ax.set(xlim=(0, 1), ylim=(0, 1), ylabel='accuracy')
        ax.legend(loc='upper left')
        ax.text(0.97, 0.05, f'ECE {100 * calibration_error(bins):.2f} %', ha='right', transform=ax.transAxes)
        below.bar(left, 100 * examples / examples.sum(), width, align='edge', color=colour(number), edgecolor='white',
                  linewidth=0.5)
        below.set(xlabel='confidence', ylabel='examples [%]')
        ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
        below.xaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure
