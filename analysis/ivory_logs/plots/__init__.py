"""Pictures of logs. Every function returns a matplotlib Axes or Figure and takes Runs or paths.

They draw with matplotlib.pyplot, so that notebooks show them; `matplotlib.use('Agg')` first where there is no screen.
"""
from .calibration import bins_of, calibration_error, reliability
from .clients import client_metric, influence, partition, posterior_precisions, site_precisions
from .previews import preview
from .rounds import arms, columns_of, diagnostics, diagnostics_of, has_residuals, metric, residuals, side_by_side

__all__ = ['arms', 'bins_of', 'calibration_error', 'client_metric', 'columns_of', 'diagnostics', 'diagnostics_of',
           'has_residuals', 'influence', 'metric', 'partition', 'posterior_precisions', 'preview', 'reliability',
           'residuals', 'side_by_side', 'site_precisions']
