"""One page of everything about some logs: tables and pictures, in a file that needs no other."""
import math
import os

import matplotlib.pyplot as plt

from . import plots
from .comparing import compare
from .errors import LogError
from .page import element, page, picture, pictures, table
from .plots.rounds import RESIDUALS
from .plots.style import MODELS, label_of
from .summary import overview

SHOW = {'accuracy': ('accuracy [%]', 100, 2), 'rmse': ('RMSE', 1, 4), 'nll': ('NLL [nat]', 1, 4),
        'ece': ('ECE [%]', 100, 2), 'brier': ('Brier', 1, 4)}
NAMES = {'mean': 'mean model', 'posterior_average': 'posterior average'}
LARGEST_IMAGE = 12  # partitions and layers that are drawn at most


def number(value, factor=1, decimals=2, sign=''):
    if value is None or math.isnan(value):
        return '–'
    text = f'{factor * value:{sign}.{decimals}f}' if abs(factor * value) < 1e6 else f'{factor * value:{sign}.3e}'
    return text.replace('-', '−')


def size(count):
    """Bytes as people read them."""
    for unit, scale in (('TB', 1e12), ('GB', 1e9), ('MB', 1e6), ('kB', 1e3)):
        if count >= scale:
            return f'{count / scale:.3g} {unit}'
    return '–' if math.isnan(count) else f'{count:.0f} B'


def mean_and_deviation(row, factor, decimals):
    text = number(row['mean'], factor, decimals)
    if row['seeds'] > 1:
        text += ' ± ' + number(row['standard_deviation'], factor, decimals)
    return text + (f' ({row["seeds"]} of {row["logs"]})' if 0 < row['seeds'] < row['logs'] else '')


def _models(comparison, logs):
    return [model for model in NAMES if model == 'mean' or
            any(log.has(model, regression) for log in logs for regression in (False, True))]


def _metric_table(comparison, summary, caption):
    rows = []
    for arm, logs in comparison.arms.items():
        for model in _models(comparison, logs):
            cells = [mean_and_deviation(comparison.value(arm, model, metric, summary), *SHOW[metric][1:])
                     for metric in comparison.metrics]
            rows.append([arm, NAMES[model], *cells])
    return table(caption, ['arm', 'model', *(SHOW[metric][0] for metric in comparison.metrics)], rows, texts=(1,))


def _course_table(comparison):
    """What a run took, and how the worst clients fare."""
    classes, rows = 'accuracy' in comparison.metrics, []
    for arm, logs in comparison.arms.items():
        for model in _models(comparison, logs):
            def show(metric, summary, factor, decimals, of=model):
                return mean_and_deviation(comparison.value(arm, of, metric, summary), factor, decimals)
            cells = [show('accuracy', 'rounds_to_target', 1, 1),
                     size(comparison.value(arm, model, 'accuracy', 'bytes_to_target')['mean']),
                     show('accuracy', 'worst_tenth_of_clients', 100, 2)] if classes else \
                [show('rmse', 'worst_tenth_of_clients', 1, 4)]
            totals = [show('seconds', 'total', 1, 1, ''), size(comparison.value(arm, '', 'bytes', 'total')['mean'])]
            rows.append([arm, NAMES[model], *cells, *(totals if model == 'mean' else ['', ''])])
    middle = ['rounds to target', 'sent to target', 'worst clients, accuracy [%]'] if classes else \
        ['worst clients, RMSE']
    target = next(iter(comparison.arms.values()))[0].run.scenario.get('evaluation', {}).get('target_accuracy', math.nan)
    caption = 'Course' + (f'; target: {100 * target:g} % accuracy' if classes and not math.isnan(target) else '') + \
        '; worst clients: the tenth that fares worst on its own examples; totals of a run'
    return table(caption, ['arm', 'model', *middle, 'time [s]', 'sent'], rows, texts=(1,))


def _difference_table(comparison):
    rows, frame = [], comparison.differences
    for _, row in frame[frame.summary == 'last_3'].iterrows():
        label, factor, decimals = SHOW[row['metric']]
        interval = '–' if math.isnan(row['low']) else \
            f'{number(row["low"], factor, decimals, "+")} to {number(row["high"], factor, decimals, "+")}'
        rows.append([row['arm'], NAMES[row['model']], label, number(row['mean'], factor, decimals, '+'),
                     element('span', interval, class_='away') if row['low'] > 0 or row['high'] < 0 else interval,
                     row['seeds']])
    caption = (f'Difference to {comparison.baseline}, mean of the last three evaluated rounds, over the seeds that both '
               'finished; 95\u00a0% interval of the mean by paired t, bold where it leaves out zero')
    return table(caption, ['arm', 'model', 'metric', 'difference', '95 % interval', 'seeds'], rows, texts=(1, 2))


def _runs(comparison):
    frame = overview(comparison.runs)
    rows = [[r['arm'] or r['name'], r['seed'], r['algorithm'], r['optimizer'],
             f'{r["rounds_complete"]} of {r["rounds"]}', r['clients'], r['parameters'], number(r['seconds'], 1, 1), size(r['bytes']), os.path.basename(r['file'])]
            for _, r in frame.iterrows()]
    headings = ['arm', 'seed', 'algorithm', 'optimizer', 'rounds', 'clients', 'parameters', 'time [s]', 'sent', 'file']
    return [table('One row per log', headings, rows, texts=(2, 3, 9))]


def _results(comparison):
    parts = [element('p', 'Mean ± standard deviation over seeds. The mean model predicts with the server\'s mean, the '
                          'posterior average with the mean prediction of networks drawn from the server\'s posterior.'),
             _metric_table(comparison, 'last_3', 'Test set, mean of the last three evaluated rounds'),
             _metric_table(comparison, 'final', 'Test set, last evaluated round')]
    several = any(len(logs) > 1 for logs in comparison.arms.values())
    if several and len(comparison.differences):
        parts.append(_difference_table(comparison))
    drawn = [metric for metric in comparison.metrics
             if comparison.table.query('metric == @metric and summary == "last_3"')['mean'].notna().any()]
    alt = 'of each arm, mean of the last three evaluated rounds, with the standard deviation over seeds; the numbers are ' \
          'in the table above.'
    parts.append(pictures(*(picture(plots.arms(comparison, metric), f'{SHOW[metric][0]} {alt}') for metric in drawn)))
    parts.append(_course_table(comparison))
    return parts


def _courses(comparison, names):
    columns = plots.columns_of(comparison.runs, names)
    return [picture(plots.metric(comparison.runs, column).figure,
                    f'{label_of(column)[0]} over rounds, a line for each of {", ".join(comparison.arms)}.')
            for column in columns]


def _over_rounds(comparison):
    figures = _courses(comparison, ('accuracy', 'rmse', 'nll', 'ece', 'brier', 'ood_auroc', 'validation_accuracy',
                                    'validation_nll'))
    if not figures:
        return []
    parts = [element('p', 'Lines are means over seeds, bands one standard deviation to each side; solid is the mean model, '
                          'dashed the posterior average.'), pictures(*figures)]
    names = plots.columns_of(comparison.runs, ('nll', 'rmse'))
    if 1 < len(comparison.arms) <= LARGEST_IMAGE and names:
        drawn = plots.side_by_side(comparison.runs, names[0])
        parts += [element('h3', 'Arms side by side'),
                  pictures(picture(drawn, f'{label_of(names[0])[0]} over rounds, a panel for each arm on one scale.'))]
    return parts


def _has_bins(run, suffix):
    bins = run.round_arrays['ece_bins' + suffix]
    return bool(bins.notnull().all(['bin', 'bin_sum']).any())


def _calibration(comparison):
    figures = []
    for order, (arm, logs) in enumerate(comparison.arms.items()):
        for model, suffix in zip(NAMES, MODELS):
            runs = [log.run for log in logs if _has_bins(log.run, suffix)]
            if not runs:
                continue
            error = 100 * plots.calibration_error(plots.bins_of(runs, -1, model))
            figures.append(picture(plots.reliability(runs, -1, model, order),
                                   f'Reliability diagram of {arm}, {NAMES[model]}: accuracy against confidence by bin, '
                                   f'and the share of examples in each; expected calibration error {error:.2f} %.',
                                   f'{arm}, {NAMES[model]}'))
    if not figures:
        return []
    return [element('p', 'Last evaluated round, bins of all seeds added up. Below the diagonal a model is too confident. '
                         'The error of added bins can be smaller than the mean of the seeds\' errors.'), pictures(*figures)]


def _partitions(comparison):
    """One picture for each way the data are divided, in order of the logs."""
    found = {}
    for run in comparison.runs:
        found.setdefault(run.partition.hash, []).append(run)
    figures = []
    for runs in list(found.values())[:LARGEST_IMAGE]:
        sizes = runs[0].partition.class_counts.sum(axis=1)
        least, most = sizes.min(), sizes.max()
        seeds = sorted({run.seed for run in runs})
        who = f'{len(sizes)} clients with {least if least == most else f"{least} to {most}"} training examples'
        figures.append(picture(plots.partition(runs[0]), f'Training examples by client and class: {who}.',
                               f'Partition of seed{"s" * (len(seeds) > 1)} {", ".join(map(str, seeds))}: {who}'))
    more = len(found) - len(figures)
    return [element('h3', 'Who has what'), pictures(*figures)] + \
        ([element('p', f'{more} more partitions are not drawn.')] if more > 0 else [])


def _clients(comparison):
    parts = _partitions(comparison)
    figures = []
    for arm, logs in comparison.arms.items():
        run = logs[0].run
        name = 'rmse' if 'rmse' in run.clients and run.clients['rmse'].notnull().any() else 'accuracy'
        if run.clients[name].notnull().any():
            figures.append(picture(plots.client_metric(run, name), f'{name} of each client of {arm} on its own examples, '
                                   'against its number of training examples.', f'{arm}, seed {run.seed}'))
    if figures:
        parts += [element('h3', 'How well each client is served'), pictures(*figures)]
    return parts


def _precisions(comparison):
    figures = []
    for arm, logs in comparison.arms.items():
        run = logs[0].run
        if not run.has_posterior or len(run.slices) > 4 * LARGEST_IMAGE:
            continue
        caption = f'{arm}, seed {run.seed}'
        if run.has_sites:
            figures.append(picture(plots.site_precisions(run), f'Precision of the sites of {arm} by layer.',
                                   f'{caption}: sites of all clients'))
        try:
            figures.append(picture(plots.posterior_precisions(run),
                                   f'Precision of the server\'s posterior of {arm} by layer.', f'{caption}: server'))
        except LogError:  # no posterior recorded yet
            continue
    if not figures:
        return []
    return [element('p', 'Boxes are quartiles with the median, whiskers reach from 5 % to 95 % of the parameters, in the '
                         'last recorded round. Precisions have the unit of 1 / weight².'), pictures(*figures)]


def _course_of_training(comparison):
    runs, parts = comparison.runs, []
    if plots.has_residuals(runs):
        drawn = picture(plots.residuals(runs), 'Primal and dual residual, server less prior and sites, and KL from server to '
                        'clients over rounds, on logarithmic axes.')
        parts = [element('p', 'How far a round is from a fixed point: the distance between clients and server (primal) and the '
                              'server\'s step (dual), the server less prior and sites, and KL from server to clients with its '
                              'median and the range from 5 % to 95 % of the participants.'), pictures(drawn)]
    drawn_above = {name for _, columns in RESIDUALS for name in columns}
    names = [name for name in plots.diagnostics_of(runs) if name not in drawn_above]
    return parts + ([pictures(*_courses(comparison, names))] if names else [])


def _scenarios(comparison):
    parts = [element('p', 'The resolved scenario of the first log of each arm, every key with its value; it runs again as it '
                          'is.')]
    for arm, logs in comparison.arms.items():
        run = logs[0].run
        written, by, device, data = (run.header[name] for name in ('scenario', 'created_by', 'device', 'data_description'))
        parts.append(element('details', element('summary', f'{arm}, seed {run.seed}: {by} on {device}; {data}'),
                             element('pre', written, tabindex='0', role='region', aria_label=f'Scenario of {arm}')))
    return parts


def report_html(logs, title='', baseline=None):
    """The page as text. `logs`: paths or Runs."""
    comparison = compare(logs, baseline)
    runs = comparison.runs
    names = ', '.join(dict.fromkeys(run.name for run in runs))
    seeds = sorted({run.seed for run in runs})
    header = [element('p', f'{len(runs)} log{"s" * (len(runs) > 1)} of {len(comparison.arms)} '
                           f'{"arm" if len(comparison.arms) == 1 else "arms"}, seed{"s" * (len(seeds) > 1)} '
                           f'{", ".join(map(str, seeds))}: '
                           f'{", ".join(comparison.arms)}.', class_='soft')]
    if comparison.warnings:
        header.append(element('div', element('strong', 'To bear in mind'),
                              element('ul', *(element('li', warning) for warning in comparison.warnings)), class_='note'))
    before = set(plt.get_fignums())
    try:
        sections = [('results', 'Results', _results(comparison)), ('rounds', 'Over rounds', _over_rounds(comparison)),
                    ('calibration', 'Calibration', _calibration(comparison)), ('clients', 'Clients', _clients(comparison)),
                    ('precisions', 'Precisions by layer', _precisions(comparison)),
                    ('training', 'Course of training', _course_of_training(comparison)),
                    ('logs', 'Logs', _runs(comparison)),
                    ('scenarios', 'Scenarios', _scenarios(comparison))]
    finally:
        for left in set(plt.get_fignums()) - before:
            plt.close(left)
    footer = [element('p', 'Made by ivory_logs from the logs alone. ± is the standard deviation over seeds (n − 1).')]
    return page(title or names, header, sections, footer)


def write_report(logs, path, title='', baseline=None):
    """Writes the page to `path`; it is whole when it has its name."""
    text = report_html(logs, title, baseline)
    part = f'{os.fspath(path)}.part'
    with open(part, 'w', encoding='utf-8') as file:
        file.write(text)
    os.replace(part, path)
