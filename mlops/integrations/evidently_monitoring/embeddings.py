"""Whether vectors come from the distribution the reference's come from: the maximum mean discrepancy.

Text, images and sound are compared by the embeddings their users compute; nothing is downloaded here. The
discrepancy (Gretton et al., A Kernel Two-Sample Test, JMLR 13, 2012) needs no trained classifier and sees any
difference of two distributions, not only of their means. It is the one Evidently has as ``mmd``: unbiased,
with a Gaussian kernel as wide as the median distance between the two samples.

Every vector is turned into one number, how much closer it is to the reference than to the batch. The mean of
these numbers over the reference minus the mean over the batch is the discrepancy, so Evidently can draw and
compare them like those of any numerical column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mlops.integrations.evidently_monitoring.frames import sample_positions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Vectors of each side. The kernel grows with the square of it; Evidently takes the median of as many.
MAX_VECTORS: Final = 1000
# Evidently's threshold for the discrepancy (evidently/legacy/metrics/data_drift/embedding_drift_methods.py).
THRESHOLD: Final = 0.015
# So many random splits of both samples together: one clean column in a thousand exceeds all of them.
PERMUTATIONS: Final = 1000
_SEED: Final = 20_260_102


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two samples of vectors, as one number per vector.

    Args:
        reference: The reference's numbers, float64.
        current: The batch's numbers, float64.
        chance: The largest discrepancy that chance explains.
    """

    reference: np.ndarray
    current: np.ndarray
    chance: float


def is_vector(cell: Any) -> bool:
    """Say whether a cell holds a list, tuple or array."""
    return isinstance(cell, list | tuple) or (hasattr(cell, "__array__") and getattr(cell, "ndim", 0) > 0)


def to_matrix(cells: pd.Series, dimension: int | None = None) -> tuple[np.ndarray, int]:
    """Return a column's vectors as rows, and how many cells hold something else.

    Args:
        cells: One list or array of any shape per row; its numbers are taken in order.
        dimension: The length each must have; None for the most frequent one.

    Returns:
        Float32 of shape (rows, dimension) with NaN for missing and unusable cells; the number of unusable.
    """
    import numpy as np

    vectors: list[np.ndarray | None] = []
    bad = 0
    for cell, missing in zip(cells, cells.isna(), strict=True):
        if missing:
            vectors.append(None)
            continue
        try:
            vector = np.asarray(cell, dtype="float32").ravel() if is_vector(cell) else None
        except (TypeError, ValueError):
            vector = None
        bad += vector is None
        vectors.append(vector)
    if dimension is None:
        lengths = [len(vector) for vector in vectors if vector is not None]
        dimension = max(set(lengths), key=lengths.count) if lengths else 0
    matrix: np.ndarray = np.full((len(vectors), dimension), np.nan, dtype="float32")
    for row, vector in enumerate(vectors):
        if vector is None:
            continue
        if len(vector) == dimension and np.isfinite(vector).all():
            matrix[row] = vector
        else:
            bad += 1
    return matrix, bad


def usable(matrix: np.ndarray) -> np.ndarray:
    """Return which rows hold a vector, at most ``MAX_VECTORS`` of them, always the same ones."""
    import numpy as np

    rows = np.flatnonzero(~np.isnan(matrix[:, 0]))
    chosen: np.ndarray = rows[sample_positions(len(rows), MAX_VECTORS)]
    return chosen


def compare(reference: np.ndarray, current: np.ndarray) -> Comparison:
    """Compare two samples of vectors.

    Args:
        reference: The reference's vectors, shape (m, dimension), without missing ones, m at least 2.
        current: The batch's, shape (n, dimension), n at least 2.
    """
    import numpy as np
    from scipy.spatial.distance import cdist

    m, n = len(reference), len(current)
    pooled = np.vstack([reference, current]).astype("float64")
    distances = cdist(pooled, pooled)
    width = float(np.median(distances[:m, m:])) ** 2
    # Vectors that are mostly the same have no median distance; then they are equal or entirely different.
    kernel = np.exp(-(distances**2) / width) if width else (distances == 0).astype("float64")
    np.fill_diagonal(kernel, 0.0)
    closeness = np.empty(m + n)
    closeness[:m] = kernel[:m, :m].sum(axis=1) / (m - 1) - kernel[:m, m:].mean(axis=1)
    closeness[m:] = kernel[m:, :m].mean(axis=1) - kernel[m:, m:].sum(axis=1) / (n - 1)
    return Comparison(closeness[:m], closeness[m:], _chance(kernel, m, n))


def discrepancy(reference: pd.Series, current: pd.Series) -> float:
    """Return the squared maximum mean discrepancy of two compared samples, 0 for none, at most 2."""
    return max(0.0, float(reference.mean() - current.mean()))


def _chance(kernel: np.ndarray, m: int, n: int) -> float:
    import numpy as np

    rng = np.random.default_rng(_SEED)
    order = rng.permuted(np.tile(np.arange(m + n), (PERMUTATIONS, 1)), axis=1)
    first: np.ndarray = np.zeros((m + n, PERMUTATIONS), dtype="float32")
    first[order[:, :m].T, np.arange(PERMUTATIONS)] = 1.0
    narrow: np.ndarray = kernel.astype("float32")
    sums = narrow @ first
    within = (first * sums).sum(axis=0)
    across = sums.sum(axis=0) - within
    rest = float(kernel.sum()) - within - 2 * across
    found = within / (m * (m - 1)) + rest / (n * (n - 1)) - 2 * across / (m * n)
    return float(found.max())
