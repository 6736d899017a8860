"""Previews: what a merge of models would give, over its weights."""
import numpy as np
from matplotlib.tri import Triangulation

from .style import COLOURS, MARKERS, SEQUENTIAL, SIZE, axes_or_new, label_of, style

HEIGHT = np.sqrt(3) / 2


def preview(frame, value='accuracy', ax=None):
    """A metric over the weights of merged tasks or clients, Axes: a line for two of them, a triangle for three.

    `frame`, one row per merge: `weight_NAME` for each of the two or three tasks (not negative; a row's weights add up
    to 1), and the column `value` (accuracy as a fraction; units of others than the metrics in `frame.attrs['unit']`).
    For two tasks, if there, `method` gives a line for each kind of merge, and `VALUE_retrained` the value of true
    retraining, drawn as marks.
    """
    weights = [name for name in frame.columns if str(name).startswith('weight_')]
    if len(weights) not in (2, 3) or value not in frame or len(frame) == 0:
        raise ValueError(f'[plots] preview needs rows with 2 or 3 columns weight_NAME and the column {value}, got '
                         f'{len(frame)} rows with {", ".join(map(str, frame.columns)) or "none"}; choose other weights, '
                         'or rename the columns')
    sums = frame[weights].sum(axis=1)
    if (frame[weights] < 0).any(axis=None) or not np.allclose(sums, 1, atol=1e-6):
        raise ValueError(f'[plots] weights of a preview must not be negative and add up to 1 in each row, got sums from '
                         f'{sums.min():g} to {sums.max():g}; divide each row by its sum')
    label, factor = label_of(value)
    if value not in ('accuracy', 'nll', 'ece', 'brier', 'rmse'):
        label, factor = value + (f' [{frame.attrs["unit"]}]' if 'unit' in frame.attrs else ''), 1
    with style():
        return (_line if len(weights) == 2 else _triangle)(frame, weights, value, factor, label, ax)


def _line(frame, weights, value, factor, label, ax):
    ax = axes_or_new(ax)
    first, second = (name.removeprefix('weight_') for name in weights)
    groups = frame.groupby('method', sort=False) if 'method' in frame else [('preview', frame)]
    for number, (title, rows) in enumerate(groups):
        rows = rows.sort_values(weights[1])
        style_of = {'color': COLOURS[number % len(COLOURS)], 'label': title}
        ax.plot(rows[weights[1]], factor * rows[value], '-',
                marker=MARKERS[number % len(MARKERS)], markersize=4, **style_of)
    retrained = f'{value}_retrained'
    if retrained in frame:
        known = frame.dropna(subset=[retrained]).drop_duplicates(weights[1])
        ax.plot(known[weights[1]], factor * known[retrained], '*', color='black', markersize=10, label='retrained')
    ax.set(xlabel=f'weight of {second} (of {first}: 1 minus it)', ylabel=label, xlim=(-0.02, 1.02))
    ax.legend()
    return ax


def _triangle(frame, weights, value, factor, label, ax):
    ax = axes_or_new(ax, (SIZE[0], 0.9 * SIZE[0]))
    w = frame[weights].to_numpy(float)
    # The first task at the left corner, the second at the right one, the third on top.
    x, y, z = w[:, 1] + 0.5 * w[:, 2], HEIGHT * w[:, 2], factor * frame[value].to_numpy(float)
    if len(frame) >= 4 and np.isfinite(z).all() and np.linalg.matrix_rank(w - w[0], tol=1e-9) == 2:
        image = ax.tricontourf(Triangulation(x, y), z, levels=12, cmap=SEQUENTIAL)
        ax.plot(x, y, '.', color='white', markersize=3)
    else:
        image = ax.scatter(x, y, c=z, cmap=SEQUENTIAL, s=60)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    ax.plot([0, 1, 0.5, 0], [0, 0, HEIGHT, 0], color='0.3', linewidth=1)
    for name, (px, py, where) in zip(weights, ((0, -0.03, 'top'), (1, -0.03, 'top'), (0.5, HEIGHT + 0.02, 'bottom'))):
        ax.text(px, py, name.removeprefix('weight_'), ha='center', va=where)
    ax.set(xlim=(-0.12, 1.12), ylim=(-0.12, HEIGHT + 0.1), aspect='equal')
    ax.axis('off')
    return ax
