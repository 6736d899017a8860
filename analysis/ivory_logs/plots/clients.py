"""Clients: who has what, how well each is served, how precise its site is, what it contributes."""
import numpy as np

from ..errors import LogError
from ..run import open_run
from .style import COLOURS, MODELS, SIZE, axes_or_new, colour, style

SHOWN_NUMBERS = 220  # cells up to which the partition shows its counts


def partition(run, ax=None):
    """Training examples by client and class, Axes."""
    counts = open_run(run).partition.class_counts
    clients, classes = counts.shape
    with style():
        ax = axes_or_new(ax, (SIZE[0], min(7.5, max(2.4, 1.1 + 0.24 * clients))))
        ax.grid(False)
        image = ax.imshow(counts.values, cmap='Blues', aspect='auto', interpolation='nearest', vmin=0)
        ax.figure.colorbar(image, ax=ax, label='training examples', pad=0.02)
        ax.set(xlabel='class', ylabel='client')
        for axis, length in ((ax.xaxis, classes), (ax.yaxis, clients)):
            axis.set_ticks(range(0, length, max(1, length // 10)))
        if counts.size <= SHOWN_NUMBERS:
            dark = counts.values.max() * 0.55
            for (k, c), n in np.ndenumerate(counts.values):
                if n:
                    ax.text(c, k, n, ha='center', va='center', fontsize=7, color='white' if n > dark else 'black')
        for side in ax.spines.values():
            side.set_visible(False)
    return ax


def _own_examples(run):
    """Which of a client's examples it was evaluated on, in words."""
    kind = run.scenario.get('evaluation', {}).get('clients', 'auto')
    held_out = kind == 'holdout' or (kind == 'auto' and run.clients['holdout_examples'].values.sum() > 0)
    return 'held-out' if held_out else 'training'


def client_metric(run, name='accuracy', ax=None):
    """A metric of /clients against the client's number of training examples, in the last round that evaluated clients,
    Axes. Where all clients have as many, against the client's number."""
    run = open_run(run)
    label, factor = {'accuracy': ('accuracy [%]', 100), 'nll': ('NLL [nat]', 1), 'rmse': ('RMSE', 1),
                     'ece': ('ECE [%]', 100), 'brier': ('Brier score', 1), 'entropy': ('entropy [nat]', 1)}[name]
    courses = {suffix: run.clients[name + suffix].dropna('evaluation_round', how='all') for suffix in MODELS}
    courses = {suffix: values for suffix, values in courses.items() if values.sizes['evaluation_round']}
    if not courses:
        raise LogError('a round must have evaluated the clients', 'none', run.path,
                       'set [evaluation] clients_every to a round that is finished')
    examples = run.clients['examples']
    alike = bool((examples == examples[0]).all())
    with style():
        ax = axes_or_new(ax)
        for number, (suffix, values) in enumerate(courses.items()):
            last = factor * values.isel(evaluation_round=-1)
            ax.plot(run.clients['client'] if alike else examples, last, 'o^'[number], color=colour(number),
                    label=MODELS[suffix][0], markersize=6, markerfacecolor='none' if number else colour(number))
        ax.set_xlabel(f'client (each has {examples.values[0]} training examples)' if alike else
                      'training examples of the client')
        ax.set_ylabel(f'{label}, own {_own_examples(run)} examples')
        ax.legend(loc='lower center', bbox_to_anchor=(0.5, 1), ncol=2)  # beside the points, not over them
    return ax


def _layers(ax, slices, number, labels, offset=0.0, width=0.5):
    """A box per slice: quartiles and median, whiskers from 5 % to 95 %."""
    names, shares = ('whislo', 'q1', 'med', 'q3', 'whishi'), (0.05, 0.25, 0.5, 0.75, 0.95)
    boxes = [dict(zip(names, np.quantile(values, shares)), fliers=[], label=label)
             for values, label in zip(slices, labels)]
    drawn = ax.bxp(boxes, positions=np.arange(len(boxes)) + offset, widths=width, vert=False, showfliers=False,
                   patch_artist=True, medianprops={'color': 'black', 'linewidth': 1.5})
    for box in drawn['boxes']:
        box.set(facecolor=colour(number), alpha=0.6)


def _precision_axis(ax, slices, names, label):
    ends = np.array([np.quantile(v, (0.05, 0.95)) for v in slices])
    lowest, biggest = ends.min(), np.abs(ends).max()
    if lowest > 0:
        if biggest > 10 * lowest:  # over less than a decade the labels of a logarithmic axis run into each other
            ax.set_xscale('log')
    else:  # a site's precision may be negative
        typical = np.median(np.abs(np.concatenate([v.ravel() for v in slices])))
        ax.set_xscale('symlog', linthresh=max(typical, biggest * 1e-6, 1e-30))
        ax.axvline(0, color='0.4', linewidth=0.8)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(label)


def site_precisions(run, round=-1, ax=None):
    """Precision of the clients' sites by layer, over parameters and clients, Axes: median, quartiles, 5 % to 95 %."""
    run = open_run(run)
    if not run.has_posterior:
        raise LogError('the method must have a posterior', run.header['algorithm'], run.path,
                       'sites of others have no precision')
    values = run.sites(round, ['site_precision'])['site_precision'].values
    slices = {name: v[np.isfinite(v)] for name, v in run.by_name(values).items()}
    return _by_layer(slices, ax, 'precision of the sites', 0)


def posterior_precisions(run, round=-1, ax=None):
    """Precision of the server's posterior by layer, Axes; drawn like site_precisions."""
    run = open_run(run)
    precision = run.posterior(round).precision
    if precision is None:
        raise LogError('the method must have a posterior', run.header['algorithm'], run.path,
                       'its log has no precision')
    return _by_layer({name: v.ravel() for name, v in precision.items()}, ax, 'precision of the server\'s posterior', 1)


def _by_layer(slices, ax, label, number):
    slices = {name: values for name, values in slices.items() if len(values)}
    with style():
        ax = axes_or_new(ax, (SIZE[0], 1.1 + 0.34 * max(2, len(slices))))
        _layers(ax, slices.values(), number, slices)
        _precision_axis(ax, list(slices.values()), list(slices), label)
    return ax


def influence(frame, ax=None, most=30):
    """Influence of clients as bars, largest first, Axes.

    `frame`, one row per client: `client` (number or name), `influence` (any scale, such as half the sum of precision
    times squared shift of the mean without that client); if there, `error` is a standard error, and `retrained` the true
    effect of leaving the client out, drawn as a mark. The unit is `frame.attrs['unit']`. The `most` largest are shown.
    """
    _columns(frame, ('client', 'influence'), 'influence')
    shown = frame.reindex(frame['influence'].abs().sort_values(ascending=False, kind='stable').index).head(most)
    with style():
        ax = axes_or_new(ax, (SIZE[0], 1.1 + 0.24 * max(3, len(shown))))
        y = np.arange(len(shown))
        ax.barh(y, shown['influence'], color=COLOURS[0], alpha=0.8, label='predicted',
                xerr=shown['error'] if 'error' in shown else None, error_kw={'capsize': 2, 'linewidth': 1})
        if 'retrained' in shown:
            ax.plot(shown['retrained'], y, 'D', color=COLOURS[1], markersize=6, label='retrained without the client')
            ax.legend()
        ax.set_yticks(y, shown['client'])
        ax.set_ylim(len(shown) - 0.5, -0.5)
        ax.grid(axis='y', visible=False)
        unit = frame.attrs.get('unit', '')
        ax.set(xlabel='influence' + (f' [{unit}]' if unit else ''), ylabel='client')
        if len(shown) < len(frame):
            ax.set_title(f'the {len(shown)} largest of {len(frame)} clients')
    return ax


def _columns(frame, names, what):
    missing = [name for name in names if name not in frame]
    if missing or len(frame) == 0:
        raise ValueError(f'[plots] {what} needs a row at least and the columns {", ".join(names)}, got {len(frame)} '
                         f'rows with {", ".join(map(str, frame.columns)) or "none"}; rename them')
