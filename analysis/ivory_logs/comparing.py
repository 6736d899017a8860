"""Arms over seeds: means, deviations and paired differences, with the numbers of `ivory compare --from LOGS --csv`."""
import dataclasses
import math

import pandas as pd

from .run import open_run
from .student import two_sided_quantile
from .summary import CLASSIFICATION, DETECTION, METRICS, MODELS, NAN, REGRESSION, summarise

SUMMARIES = ('best', 'final', 'last_3')
# Settings that logs of one arm need not share.
MAY_DIFFER = {'seed', 'rounds', 'evaluation.target_accuracy'}
TOTALS = (('seconds', 'total', 's'), ('bytes', 'total', 'bytes'), ('rounds', 'complete', 'rounds'),
          ('refused', 'total', 'clients'), ('clamped', 'total', 'parameters'), ('failed', 'share', '1'))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What compare() gives.

    `table`: one row per arm, model, metric and summary with unit, mean, standard_deviation (n - 1), seeds (that have a
    value), logs, and by_seed, a tuple of (seed, value).
    `differences`: the same of arm minus baseline over the seeds that both finished, with half_width, low and high of the
    95 % interval of the mean (paired t). Both in fractions, nats, bytes and seconds.
    """
    arms: dict  # title -> Summary of each log, in order of the logs
    baseline: str
    table: pd.DataFrame
    differences: pd.DataFrame
    warnings: list  # what makes the arms hard to compare
    metrics: tuple  # accuracy and so on, those that the logs have
    has_average: bool  # does some arm have a posterior average?

    @property
    def runs(self):
        return [summary.run for logs in self.arms.values() for summary in logs]

    def value(self, arm, model, metric, summary):
        """The row of `table`, as a Series."""
        t = self.table
        return t[(t.arm == arm) & (t.model == model) & (t.metric == metric) & (t.summary == summary)].iloc[0]


def spread(values):
    """Mean, standard deviation (n - 1; NaN for one) and number of the values that are no NaN."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return NAN, NAN, 0
    mean = sum(known) / len(known)
    if len(known) == 1:
        return mean, NAN, 1
    return mean, math.sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1)), len(known)


def group_by_arm(runs):
    """Title -> runs, in order of the first log; the scenario's name is in the title where the logs have several."""
    with_name = len({run.name for run in runs}) > 1
    groups = {}
    for run in runs:
        title = f'{run.name} / {run.arm}' if run.arm and with_name else run.title
        groups.setdefault(title, []).append(run)
    return groups


def _row(title, logs, model, metric, summary, unit, pairs):
    first = logs[0].run
    mean, deviation, count = spread([value for _, value in pairs])
    return {'name': first.name, 'arm': title, 'algorithm': first.header['algorithm'], 'model': model, 'metric': metric,
            'summary': summary, 'unit': unit, 'mean': mean, 'standard_deviation': deviation, 'seeds': count,
            'logs': len(pairs), 'by_seed': tuple(pairs)}


def _rows_of_arm(title, logs, metrics, classification, regression, detection):
    def row(model, metric, summary, unit):
        pairs = [(log.run.seed, log[model, metric, summary]) for log in logs]
        return _row(title, logs, model, metric, summary, unit, pairs)

    for model in MODELS:
        for metric in metrics:
            for summary in SUMMARIES:
                yield row(model, metric, summary, METRICS[metric])
        for metric in DETECTION if detection else ():
            yield row(model, metric, 'final', '1')
        if classification:
            yield row(model, 'accuracy', 'rounds_to_target', 'rounds')
            yield row(model, 'accuracy', 'bytes_to_target', 'bytes')
            yield row(model, 'accuracy', 'worst_tenth_of_clients', '1')
        if regression:
            yield row(model, 'rmse', 'worst_tenth_of_clients', 'unit of the targets')
    for metric, summary, unit in TOTALS:
        yield row('', metric, summary, unit)


def _one_of_each_seed(logs):
    """Of a seed that is there twice the first log counts."""
    found = {}
    for log in logs:
        found.setdefault(log.run.seed, log)
    return list(found.values())


def _finished(logs):
    """Seed -> the first usable log of that seed."""
    found = {}
    for log in logs:
        if log.usable:
            found.setdefault(log.run.seed, log)
    return found


def _has_average(logs):
    return any(log.has('posterior_average', regression) for log in logs for regression in (False, True))


def _differences(title, logs, baseline, others, metrics):
    ours, theirs = _finished(logs), _finished(others)
    for model in MODELS:
        if model == 'posterior_average' and not _has_average(logs):
            continue
        # Against an arm without a posterior average stands its mean model.
        against = model if _has_average(others) else 'mean'
        for metric in metrics:
            for summary in ('final', 'last_3'):
                pairs = [(seed, log[model, metric, summary] - theirs[seed][against, metric, summary])
                         for seed, log in ours.items() if seed in theirs]
                row = _row(title, logs, model, metric, summary, METRICS[metric], pairs)
                half = NAN
                if (n := row['seeds']) > 1:
                    half = two_sided_quantile(0.95, n - 1) * row['standard_deviation'] / math.sqrt(n)
                yield row | {'minus': baseline, 'half_width': half, 'low': row['mean'] - half,
                             'high': row['mean'] + half}


def _flat(table, prefix=''):
    """a.b.c -> value for each key of nested tables."""
    found = {}
    for key, value in table.items():
        found |= _flat(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value}
    return found


def _differing(runs, what, value):
    """A warning with one log of each value where there are several."""
    example = {}
    for run in runs:
        example.setdefault(value(run), run.path)
    if len(example) < 2:
        return []
    parts = [f'{text} ({path})' for text, path in example.items()]
    more = f' and {len(parts) - 4} more' if len(parts) > 4 else ''
    return [f'the logs have different {what}: {", ".join(parts[:4])}{more}']


def _warnings(arms):
    """A new seed may draw new data; within one seed all arms must see the same."""
    good = {title: [log.run for log in logs if not log.failure] for title, logs in arms.items()}
    runs = [run for logs in good.values() for run in logs]
    warnings = []
    for seed in sorted({run.seed for run in runs}):
        same = [run for run in runs if run.seed == seed]
        warnings += _differing(same, 'data', lambda run: f'checksum {run.header["data_checksum"]}')
        warnings += _differing(same, 'partitions', lambda run: f'hash {run.header["partition_hash"]}')
    warnings += _differing(runs, 'numbers of rounds', lambda run: run.header['rounds'])
    warnings += _differing(runs, 'target accuracies',
                           lambda run: run.scenario.get('evaluation', {}).get('target_accuracy', NAN))
    for title, logs in good.items():
        settings = [_flat(run.scenario) for run in logs]
        keys = sorted({key for s in settings for key in s} - MAY_DIFFER)
        for key in keys:
            differing = [i for i, s in enumerate(settings) if s.get(key) != settings[0].get(key)]
            if differing:
                i = differing[0]
                warnings.append(f'{title} puts runs of different settings together: {key} = {settings[0].get(key)} '
                                f'({logs[0].path}) and {settings[i].get(key)} ({logs[i].path})')
                break
        first = {}
        for run in logs:
            if run.seed in first:
                warnings.append(f'{title} has seed {run.seed} twice: {first[run.seed]} and {run.path}; only the first '
                                'one counts')
            first.setdefault(run.seed, run.path)
    for title, logs in arms.items():
        for log in logs:
            if log.failure:
                warnings.append(f'{title}: the run of seed {log.run.seed} failed: {log.failure}')
            elif not log.run.finished:
                warnings.append(f'unfinished: {log.run.path}, {log.run.rounds_complete} of {log.run.header["rounds"]} '
                                'rounds')
    return warnings


def compare(logs, baseline=None):
    """A Comparison of logs (paths or Runs), grouped by arm over seeds; differences are taken to `baseline`, an arm's
    title (the first arm without one). Raises LogError for what is no log, ValueError for no logs or no such arm."""
    runs = [open_run(log) for log in logs]
    if not runs:
        raise ValueError('[compare] there must be at least one log, got none; give paths or Runs')
    every_log = {title: [summarise(run) for run in group] for title, group in group_by_arm(runs).items()}
    arms = {title: _one_of_each_seed(group) for title, group in every_log.items()}
    baseline = next(iter(arms)) if baseline is None else baseline
    if baseline not in arms:
        raise ValueError(f'[compare] baseline must be one of {", ".join(arms)}, got {baseline!r}')
    every = [log for group in arms.values() for log in group]
    regression = any(log.has('mean', True) for log in every)
    classification = any(log.has('mean', False) for log in every) or not regression
    metrics = tuple(metric for metric in METRICS if (classification and metric in CLASSIFICATION) or
                    (regression and metric in REGRESSION))
    detection = any(not math.isnan(log['mean', 'ood_auroc', 'final']) for log in every)
    table = [row for title, group in arms.items()
             for row in _rows_of_arm(title, group, metrics, classification, regression, detection)]
    differences = [row for title, group in arms.items() if title != baseline
                   for row in _differences(title, group, baseline, arms[baseline], metrics)]
    columns = [*table[0], 'minus', 'half_width', 'low', 'high']
    return Comparison(arms, baseline, pd.DataFrame(table), pd.DataFrame(differences, columns=columns), _warnings(every_log),
                      metrics, any(_has_average(group) for group in arms.values()))
