"""What all pictures share: colours that colour-blind readers tell apart, grids, names and units of the metrics."""
import contextlib

import matplotlib.pyplot as plt
from cycler import cycler

# Okabe and Ito's palette without its yellow, which is too pale on white. Then colours come again, with other markers.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#000000')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')
SEQUENTIAL = 'cividis'  # for heat maps
SIZE = (4.8, 3.4)  # inches: readable on a phone's width

MODELS = {'': ('mean model', '-'), '_bayes': ('posterior average', '--')}  # suffix -> name, line

# column without suffix -> what stands on its axis, factor
LABELS = {'accuracy': ('test accuracy [%]', 100), 'nll': ('test NLL [nat]', 1), 'ece': ('test ECE [%]', 100),
          'brier': ('test Brier score', 1), 'entropy': ('entropy of predictions [nat]', 1),
          'rmse': ('test RMSE [unit of the targets]', 1), 'negative_elbo': ('negative ELBO [nat]', 1),
          'train_loss': ('training loss [nat]', 1), 'seconds': ('time per round [s]', 1),
          'bytes_up': ('sent to the server [bytes per round]', 1), 'participants': ('participants [clients]', 1),
          'bytes_down': ('sent to the clients [bytes per round]', 1), 'refused': ('refused updates [clients]', 1),
          'clamped': ('precisions raised to their floor', 1), 'precision_gap_closed': ('precision gap closed [%]', 100),
          'hessian_at_start': ('IVON precisions within 1 % of their start [%]', 100),
          'clip_rate': ('IVON steps clipped [%]', 100), 'primal_residual': ('primal residual', 1),
          'dual_residual': ('dual residual', 1), 'site_residual_precision': ('sites, precision: relative residual', 1),
          'site_residual_mean': ('sites, mean: relative residual', 1),
          'ood_auroc': ('AUROC against other data [%]', 100), 'validation_accuracy': ('validation accuracy [%]', 100),
          'validation_nll': ('validation NLL [nat]', 1), 'validation_ece': ('validation ECE [%]', 100)}

SETTINGS = {'axes.grid': True, 'grid.alpha': 0.3, 'axes.spines.top': False, 'axes.spines.right': False,
            'axes.prop_cycle': cycler(color=COLOURS), 'axes.axisbelow': True, 'font.size': 10, 'axes.titlesize': 10,
            'axes.labelsize': 10, 'legend.fontsize': 9, 'legend.frameon': True, 'legend.framealpha': 0.8,
            'legend.edgecolor': 'none', 'figure.constrained_layout.use': True, 'figure.figsize': SIZE,
            'lines.linewidth': 1.6}


@contextlib.contextmanager
def style():
    """The settings of every picture; the caller's own are back afterwards."""
    with plt.rc_context(SETTINGS):
        yield


def axes_or_new(ax, size=SIZE):
    return plt.subplots(figsize=size)[1] if ax is None else ax


def label_of(column, run=None):
    """(text with unit, factor) of a column of /rounds; of one without an entry here its name and the log's unit."""
    if column in LABELS:
        return LABELS[column]
    unit = '' if run is None else run.rounds.attrs['units'].get(column, '')
    return column.replace('_', ' ') + (f' [{unit}]' if unit not in ('', '1') else ''), 1


def colour(number):
    return COLOURS[number % len(COLOURS)]


def marker(number):
    return MARKERS[(number + number // len(MARKERS)) % len(MARKERS)]
