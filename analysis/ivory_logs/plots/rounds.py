"""Numbers of the rounds: courses with seed bands, arms side by side, diagnostics."""
import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..comparing import compare, group_by_arm
from ..errors import LogError
from ..run import open_run
from .style import MODELS, SIZE, axes_or_new, colour, label_of, marker, style

DIAGNOSTICS = ('train_loss', 'negative_elbo', 'precision_gap_closed', 'hessian_at_start', 'clip_rate', 'participants',
               'refused', 'clamped', 'seconds', 'bytes_up')
RESIDUALS = (('distance [1]', {'primal_residual': 'primal', 'dual_residual': 'dual'}),
             ('server − (prior + sites), relative', {'site_residual_precision': 'precision', 'site_residual_mean': 'mean'}))
KL = 'kl_server_client'
FEW = 6  # entries of a legend that fit into the picture
FROM_ZERO = ('participants', 'refused', 'clamped', 'hessian_at_start', 'clip_rate', 'seconds', 'bytes_up', 'bytes_down')


def seed_table(runs, column):
    """A column of the runs of one arm: rounds that all of them have and evaluated x one column per log."""
    frames = [run.rounds[column] for run in runs if column in run.rounds]
    if len(frames) < len(runs):
        return pd.DataFrame()
    return pd.concat(frames, axis=1, join='inner', keys=range(len(frames))).dropna()


def columns_of(runs, names):
    """Those of the columns that some run has a number in."""
    return [name for name in names if any(name in run.rounds and run.rounds[name].notna().any() for run in runs)]


def _require(runs, column):
    if not columns_of(runs, [column, column + '_bayes']):
        raise LogError(f'the rounds must have numbers in the column {column}', 'none', ', '.join(r.path for r in runs),
                       'choose a column of run.rounds, or see docs/log-format.md for what fills it')


def _draw_arm(ax, runs, column, number, title, models, band):
    """Mean over seeds with a band; a line per model."""
    factor = label_of(column)[1]
    for suffix in models:
        table = seed_table(runs, column + suffix) * factor
        if table.empty:
            continue
        mean = table.mean(axis=1)
        name, line = MODELS[suffix]
        few = {'marker': marker(number), 'markersize': 4} if len(table) < 12 else {}
        ax.plot(table.index, mean, line, color=colour(number),
                label=f'{title}, {name}' if len(models) > 1 else title, **few)
        if table.shape[1] > 1:
            low, high = (table.min(axis=1), table.max(axis=1)) if band == 'range' else \
                (mean - table.std(axis=1), mean + table.std(axis=1))
            ax.fill_between(table.index, low, high, color=colour(number), alpha=0.15, linewidth=0)


def _finish(ax, label):
    if '[bytes' in label:
        ax.yaxis.set_major_formatter(EngFormatter())
    ax.set_xlabel('round')
    ax.set_ylabel(label)
    first, last = ax.dataLim.intervalx
    if first == last:  # one round
        ax.set_xlim(first - 0.5, last + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator('auto', integer=True))


def _models(runs, column):
    return [suffix for suffix in MODELS if columns_of(runs, [column + suffix])]


def metric(runs, column='accuracy', ax=None, band='std', legend=True):
    """One column of /rounds over rounds, Axes. A line per arm and model, the mean over seeds; the band is mean +-
    standard deviation over seeds (`band='std'`) or their range (`'range'`)."""
    runs = [open_run(run) for run in runs]
    _require(runs, column)
    groups, models = group_by_arm(runs), _models(runs, column)
    entries = len(groups) * len(models)
    below = legend and ax is None and entries > FEW  # so many would hide the lines
    with style():
        ax = axes_or_new(ax, (SIZE[0], SIZE[1] + 0.2 * entries) if below else SIZE)
        for number, (title, group) in enumerate(groups.items()):
            _draw_arm(ax, group, column, number, title, models, band)
        _finish(ax, label_of(column, runs[0])[0])
        if column in FROM_ZERO:
            ax.set_ylim(bottom=0)
        if legend:
            ax.legend(**({'loc': 'upper center', 'bbox_to_anchor': (0.5, -0.6 / SIZE[1])} if below else {}))
    return ax


def side_by_side(runs, column='accuracy', band='std'):
    """The same with a panel for each arm on one scale, Figure."""
    runs = [open_run(run) for run in runs]
    _require(runs, column)
    groups, models = group_by_arm(runs), _models(runs, column)
    across = min(2, len(groups))
    down = math.ceil(len(groups) / across)
    with style():
        figure, axes = plt.subplots(down, across, sharex=True, sharey=True, squeeze=False,
                                    figsize=(SIZE[0], 1 + 2.2 * down))
        for number, (ax, (title, group)) in enumerate(zip(axes.flat, groups.items())):
            _draw_arm(ax, group, column, number, title, models, band)
            ax.set_title(title, fontsize=10 if len(title) < 20 else 7)
            _finish(ax, '')
        for ax in axes.flat[len(groups):]:
            ax.set_visible(False)
        figure.supylabel(label_of(column, runs[0])[0], fontsize=10)
    return figure


def arms(comparison, metric='accuracy', summary='last_3', ax=None):
    """Arms side by side, Axes: a mark for the mean over seeds with its standard deviation, small dots for the seeds;
    filled for the mean model, empty for the posterior average. `comparison`: of compare(), or logs."""
    if not hasattr(comparison, 'table'):
        comparison = compare(comparison)
    rows = comparison.table[(comparison.table.metric == metric) & (comparison.table.summary == summary)]
    if rows.empty or rows['mean'].isna().all():
        raise LogError(f'an arm must have numbers for {metric}, {summary}', 'none', 'the comparison',
                       'choose a metric and a summary of comparison.table')
    label, factor = label_of(metric)
    titles = list(comparison.arms)
    with style():
        ax = axes_or_new(ax, (SIZE[0], 1.4 + 0.55 * len(titles)))
        for _, row in rows.dropna(subset=['mean']).iterrows():
            number, average = titles.index(row['arm']), row['model'] == 'posterior_average'
            y = number + (0.16 if average else -0.16) * comparison.has_average
            seeds = [factor * value for _, value in row['by_seed'] if not math.isnan(value)]
            ax.plot(seeds, [y] * len(seeds), '.', color=colour(number), alpha=0.5, markersize=5)
            ax.errorbar(factor * row['mean'], y, xerr=factor * row['standard_deviation'] if row['seeds'] > 1 else None,
                        fmt=marker(number), color=colour(number), markerfacecolor='white' if average else colour(number),
                        capsize=3, markersize=7)
        ax.set_yticks(range(len(titles)), titles)
        ax.set_ylim(len(titles) - 0.5, -0.5)
        ax.set_xlabel({'last_3': f'{label}, mean of the last 3', 'final': f'{label}, last round',
                       'best': f'{label}, best round'}[summary])
        if comparison.has_average:
            for name, face in (('mean model', '0.3'), ('posterior average', 'white')):
                ax.plot([], [], 'o', color='0.3', markerfacecolor=face, label=name)
            ax.legend(loc='lower center', bbox_to_anchor=(0.5, 1), ncol=2)
    return ax


def _kl_quantiles(runs):
    """Mean over the runs of the quantiles of KL(server, client), round x level; empty where no run has any."""
    frames = [run.round_arrays[KL].to_pandas() for run in runs if KL in run.round_arrays]
    frames = [frame.dropna() for frame in frames if frame.notna().any(axis=None)]
    return sum(frames[1:], frames[0]).dropna() / len(frames) if frames else pd.DataFrame()


def has_residuals(runs):
    """Whether some run has residuals or KL between server and clients."""
    names = [name for _, columns in RESIDUALS for name in columns]
    return bool(columns_of(runs, names)) or not _kl_quantiles(runs).empty


def residuals(runs):
    """Distance from a fixed point over rounds on logarithmic axes, Figure: primal (solid) and dual (dashed) residual, server
    less prior and sites (precision solid, natural mean dashed), and KL from server to clients (median, band from the 5 % to
    the 95 % quantile); means over seeds. Panels without numbers are left out."""
    runs = [open_run(run) for run in runs]
    groups = group_by_arm(runs)
    panels = [(label, names) for label, names in RESIDUALS if columns_of(runs, names)]
    divergences = {title: _kl_quantiles(group) for title, group in groups.items()}
    has_kl = any(not table.empty for table in divergences.values())
    if not panels and not has_kl:
        raise LogError('the rounds must have residuals', 'none', ', '.join(run.path for run in runs),
                       'logs have them with [log] diagnostics = true, for methods with a common model')
    count = len(panels) + has_kl
    with style():
        figure, axes = plt.subplots(1, count, squeeze=False, figsize=(SIZE[0] * min(count, 3), SIZE[1] + 0.3))
        for ax, (label, names) in zip(axes.flat, panels):
            for number, (title, group) in enumerate(groups.items()):
                for line, (column, name) in zip(('-', '--'), names.items()):
                    mean = seed_table(group, column).mean(axis=1)
                    if not mean.empty:
                        ax.plot(mean.index, mean, line, color=colour(number), label=f'{title}, {name}')
            _finish(ax, label)
        if has_kl:
            ax = axes.flat[-1]
            for number, (title, table) in enumerate(divergences.items()):
                if table.empty:
                    continue
                low, middle, high = (table.iloc[:, place] for place in range(3))
                ax.plot(table.index, middle, color=colour(number), label=title)
                ax.fill_between(table.index, low, high, color=colour(number), alpha=0.15, linewidth=0)
            _finish(ax, 'KL(server, client) [nat]')
        for ax in axes.flat:
            ax.set_yscale('log')
            ax.legend()
    return figure


def diagnostics_of(runs, names=None):
    """Those of the columns that tell something: not missing and not zero throughout. Without `names`: DIAGNOSTICS, and
    what later logs call a residual."""
    if names is None:
        names = dict.fromkeys([*DIAGNOSTICS, *(name for run in runs for name in run.rounds if 'residual' in name)])
    return [name for name in columns_of(runs, names)
            if any((run.rounds[name].fillna(0) != 0).any() for run in runs if name in run.rounds)]


def diagnostics(runs, columns=None):
    """Course of the run itself: losses, ELBO, residuals, participants, time; those that are not missing and not zero
    throughout. Figure."""
    runs = [open_run(run) for run in runs]
    columns = diagnostics_of(runs, columns)
    if not columns:
        raise LogError('a run must have at least one finished round', 'none', ', '.join(run.path for run in runs),
                       'open the log again later')
    across = min(2, len(columns))
    down = math.ceil(len(columns) / across)
    with style():
        figure, axes = plt.subplots(down, across, squeeze=False, figsize=(SIZE[0] * across, 0.85 * SIZE[1] * down))
        for ax, column in zip(axes.flat, columns):
            metric(runs, column, ax, legend=column == columns[0])
        for ax in axes.flat[len(columns):]:
            ax.set_visible(False)
    return figure
