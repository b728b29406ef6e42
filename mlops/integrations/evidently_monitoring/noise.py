"""How large a drift score is by chance alone, for samples of given sizes.

Two samples of one distribution are never the same, and the smaller they are the further apart they look: the
normed Wasserstein distance of two clean samples of 50 rows is about 0.24 on average, far above Evidently's
threshold of 0.1. A column counts as drifted when its score exceeds the threshold *and* what chance explains.

Both limits leave about one clean column in a thousand above them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

FALSE_ALARM_RATE: Final = 0.001
# The Wasserstein distance of two samples is the integral of a Brownian bridge's absolute value; the 99.9 %
# point of that integral is three times its mean (Shepp 1982 for the uniform distribution, simulation others).
_BRIDGE_QUANTILE: Final = 3.0
# Evidently divides by the reference's standard deviation, but by no less than this.
_MIN_STD: Final = 0.001


def wasserstein_noise(reference: pd.Series, rows: int) -> float:
    """Return the largest normed Wasserstein distance that chance explains.

    Args:
        reference: The reference's values, float64 without missing ones.
        rows: Number of values in the batch.

    Returns:
        A distance in standard deviations of the reference.
    """
    import numpy as np

    values = np.sort(reference.to_numpy(dtype="float64"))
    size = len(values)
    if size < 2 or rows < 1:
        return float("inf")
    share = np.arange(1, size) / size
    spread = float(np.sum(np.sqrt(share * (1 - share)) * np.diff(values)))
    mean = np.sqrt(2 / np.pi) * spread * np.sqrt(1 / size + 1 / rows)
    return float(_BRIDGE_QUANTILE * mean / max(float(np.std(values)), _MIN_STD))


def jensenshannon_noise(categories: int, reference_rows: int, rows: int) -> float:
    """Return the largest Jensen-Shannon distance that chance explains.

    For two samples of one distribution, eight times the divergence over (1/n + 1/m) follows a chi-square
    distribution with one degree of freedom less than there are categories.

    Args:
        categories: Number of categories in both samples together.
        reference_rows: Number of values in the reference.
        rows: Number of values in the batch.

    Returns:
        A distance in natural units, 0 to 0.83.
    """
    from scipy.stats import chi2

    if categories < 2:
        return 0.0
    if not reference_rows or not rows:
        return float("inf")
    divergence = chi2.ppf(1 - FALSE_ALARM_RATE, categories - 1) / 8 * (1 / reference_rows + 1 / rows)
    return float(divergence**0.5)
