"""Aggregation rules in NumPy float64, from their definitions: rows of shape (n, d), result (d,).

Written apart from the package, without its integers, so that agreement says something.
"""

import numpy as np


def trimmed_mean(rows, f):
    return np.sort(rows, axis=0)[f : len(rows) - f].mean(axis=0)


def around_median(rows, f):
    far = np.abs(rows - np.median(rows, axis=0))
    kept = np.lexsort((rows, far), axis=0)[: len(rows) - f]
    return np.take_along_axis(rows, kept, axis=0).mean(axis=0)


def distances(rows):
    return np.linalg.norm(rows[:, None] - rows[None], axis=2)


def krum_order(rows, f):
    """Blanchard et al.: the sum over the n - f - 2 nearest others."""
    squared = np.sort(distances(rows) ** 2, axis=1)[:, 1 : len(rows) - f - 1]
    return np.argsort(squared.sum(axis=1), kind="stable")


def multi_krum(rows, f, m):
    return rows[krum_order(rows, f)[:m]].mean(axis=0)


def geometric_median(rows, iterations):
    point = rows.mean(axis=0)
    for _ in range(iterations):
        pull = 1 / np.maximum(np.linalg.norm(rows - point, axis=1), 1)
        point = pull @ rows / pull.sum()
    return point


def centred_clipping(rows, centre, radius, iterations):
    point = centre
    for _ in range(iterations):
        away = rows - point
        lengths = np.linalg.norm(away, axis=1)
        limit = radius or np.median(lengths)
        scales = np.minimum(1, limit / np.maximum(lengths, 1e-300))
        point = point + (scales[:, None] * away).mean(axis=0)
    return point


def to_one_length(rows):
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * (np.median(lengths) / lengths)


def l_nearest(rows, count, reference, *, equal):
    """The mean of the rows with the smallest cosine distance to the sum or the median."""
    voices = to_one_length(rows) if equal else rows
    towards = voices.sum(axis=0) if reference == "sum" else np.median(voices, axis=0)
    cosines = voices @ towards / np.linalg.norm(voices, axis=1)
    return voices[np.argsort(-cosines, kind="stable")[:count]].mean(axis=0)


def mixtures(rows, f):
    order = np.argsort(distances(rows), axis=1, kind="stable")[:, : len(rows) - f]
    return rows[order].mean(axis=1)


def fltrust(rows, root):
    lengths = np.linalg.norm(rows, axis=1)
    trust = np.maximum(0, rows @ root / (lengths * np.linalg.norm(root)))
    scaled = rows * (np.linalg.norm(root) / lengths)[:, None]
    return trust @ scaled / trust.sum()


def foolsgold_trust(histories):
    lengths = np.linalg.norm(histories, axis=1)
    cosines = histories @ histories.T / np.outer(lengths, lengths)
    np.fill_diagonal(cosines, 0)
    alike = np.maximum(cosines.max(axis=1), 0)
    for i in range(len(cosines)):
        for j in range(len(cosines)):
            if i != j and alike[j] > alike[i]:
                cosines[i, j] *= alike[i] / alike[j]
    trust = np.clip(1 - np.maximum(cosines.max(axis=1), 0), 0, 1)
    trust = np.minimum(trust / trust.max(), 0.99)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(trust / (1 - trust)) + 0.5, 0, 1)
