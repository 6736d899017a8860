"""A log reduced to the numbers of a comparison, the same as `ivory compare --csv` writes."""
import dataclasses
import math

import numpy as np
import pandas as pd

NAN = math.nan
MODELS = {'mean': '', 'posterior_average': '_bayes'}  # model -> suffix of its columns
# metric -> unit; a log of classes has no rmse, one of regression nll and rmse alone
METRICS = {'accuracy': '1', 'rmse': 'unit of the targets', 'nll': 'nat', 'ece': '1', 'brier': '1'}
CLASSIFICATION, REGRESSION = ('accuracy', 'nll', 'ece', 'brier'), ('rmse', 'nll')
DETECTION = tuple(f'ood_{score}{name}' for score in ('', 'entropy_')
                  for name in ('auroc', 'aupr_in', 'aupr_out', 'fpr95', 'detection_error'))


@dataclasses.dataclass(frozen=True)
class Summary:
    """The numbers of one run."""
    run: object
    values: dict  # (model, metric, summary) -> number, NaN where there is none; model '' for those of the whole run
    failure: str  # why the run counts as failed, it has no metrics then; empty for a good one

    def __getitem__(self, key):
        return self.values.get(key, NAN)

    @property
    def usable(self):
        return not self.failure and self.run.finished

    def has(self, model, regression):
        return not math.isnan(self[model, 'rmse' if regression else 'accuracy', 'final'])


def _column(rounds, name):
    return rounds[name].to_numpy(float) if name in rounds else np.empty(0)


def _total(values):
    total = 0.0
    for value in values:  # left to right, so that the last bit does not depend on the length
        total += value
    return float(total)


def _course(values, evaluated, more_is_better):
    """best, final and mean of the last three over the evaluated rounds (positions)."""
    if len(values) == 0 or len(evaluated) == 0:
        return NAN, NAN, NAN
    seen = values[evaluated]
    best = (np.fmax if more_is_better else np.fmin).reduce(seen)
    last = seen[-3:]
    return float(best), float(seen[-1]), _total(last) / len(last)


def _worst_tenth(clients, name, more_is_better):
    """Mean over the worst tenth of the clients (at least one) in the last round that evaluated them.

    A client without a value in any round has no examples of its own; where one that had a value lost it there is no mean.
    """
    if name not in clients or len(clients[name]) == 0:
        return NAN
    rows = clients[name].values
    lost = np.isnan(rows[-1])
    if (lost & ~np.isnan(rows).all(axis=0)).any() or lost.all():
        return NAN
    values = np.sort(rows[-1][~lost].astype(float))
    worst = (values if more_is_better else values[::-1])[:max(1, len(values) // 10)]
    return _total(worst) / len(worst)


def _evaluated(run, suffix):
    """Positions of the evaluated rounds, by the log's own schedule: one whose metrics are NaN, since the model diverged, counts.

    A posterior average begins with its first value: a Laplace posterior is there after the last round only.
    """
    columns = [_column(run.rounds, name + suffix) for name in ('accuracy', 'rmse', 'nll')]
    seen = np.zeros(len(columns[2]), bool)
    for column in columns:
        if len(column):
            seen |= ~np.isnan(column)
    every = run.scenario.get('evaluation', {}).get('every', 0)
    numbers = np.arange(1, len(seen) + 1)
    due = (numbers % every == 0) | (numbers == run.header['rounds']) if every >= 1 else np.zeros(len(seen), bool)
    begun = np.ones(len(seen), bool) if not suffix else np.maximum.accumulate(seen)
    return np.flatnonzero(seen | (due & begun))


def _metrics(run, model, suffix, target):
    rounds, found = run.rounds, {}
    accuracy = _column(rounds, 'accuracy' + suffix)
    evaluated = _evaluated(run, suffix)
    by_accuracy = evaluated if len(accuracy) else evaluated[:0]
    for metric in METRICS:
        best, final, last = _course(_column(rounds, metric + suffix), evaluated, metric == 'accuracy')
        found |= {(model, metric, 'best'): best, (model, metric, 'final'): final, (model, metric, 'last_3'): last}
    for metric in DETECTION:
        values = _column(rounds, metric + suffix)
        if len(values) and len(by_accuracy):
            found[model, metric, 'final'] = float(values[by_accuracy[-1]])
    reached = by_accuracy[accuracy[by_accuracy] >= target] if len(by_accuracy) else []
    if len(reached):
        found[model, 'accuracy', 'rounds_to_target'] = float(reached[0] + 1)
        sent = _column(rounds, 'bytes_up') + _column(rounds, 'bytes_down')
        found[model, 'accuracy', 'bytes_to_target'] = _total(sent[:reached[0] + 1])
    found[model, 'accuracy', 'worst_tenth_of_clients'] = _worst_tenth(run.clients, 'accuracy' + suffix, True)
    found[model, 'rmse', 'worst_tenth_of_clients'] = _worst_tenth(run.clients, 'rmse' + suffix, False)
    return found


def summarise(run):
    """The Summary of a Run. A finished run in which no client's update was ever usable counts as failed."""
    rounds = run.rounds
    values = {('', 'seconds', 'total'): _total(_column(rounds, 'seconds'))}
    if run.finished and _total(_column(rounds, 'participants')) == 0:
        return Summary(run, values | {('', 'failed', 'share'): 1.0},
                       f'[run] some client\'s update must be usable, got none in {run.header["rounds"]} rounds')
    target = run.scenario.get('evaluation', {}).get('target_accuracy', NAN)
    for model, suffix in MODELS.items():
        values |= _metrics(run, model, suffix, target)
    values['', 'bytes', 'total'] = _total(_column(rounds, 'bytes_up') + _column(rounds, 'bytes_down'))
    values['', 'rounds', 'complete'] = float(run.rounds_complete)
    for name in ('refused', 'clamped'):
        values['', name, 'total'] = _total(_column(rounds, name))
    values['', 'failed', 'share'] = 0.0
    return Summary(run, values, '')


def overview(runs):
    """One row per log: what it is, how far it came, and its final numbers, as a DataFrame."""
    rows = []
    for run in runs:
        numbers = summarise(run)
        rows.append({'file': run.path, 'name': run.name, 'arm': run.arm, 'seed': run.seed,
                     'algorithm': run.header['algorithm'], 'optimizer': run.header['optimizer'],
                     'rounds_complete': run.rounds_complete, 'rounds': run.header['rounds'],
                     'clients': run.header['clients'], 'parameters': run.header['parameters'],
                     'seconds': numbers['', 'seconds', 'total'], 'bytes': numbers['', 'bytes', 'total'],
                     'failure': numbers.failure})
    return pd.DataFrame(rows)
