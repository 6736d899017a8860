"""Reads, compares and draws the logs of Ivory; it knows docs/log-format.md and nothing else of Ivory.

    import ivory_logs
    run = ivory_logs.open_run('runs/quickstart-vb-admm-seed1.h5')
    run.rounds[['accuracy', 'nll_bayes']]

ivory_logs.plots draws, ivory_logs.report.write_report makes a page of everything.
"""
from .comparing import Comparison, compare
from .errors import LogError
from .run import Partition, Posterior, Run, open_run
from .summary import overview

__version__ = '0.1.0'
__all__ = ['Comparison', 'LogError', 'Partition', 'Posterior', 'Run', 'compare', 'open_run', 'overview']
