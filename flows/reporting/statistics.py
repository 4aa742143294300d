"""Statistics of a comparison: intervals, paired tests of seeds, correction for many tests, and verdicts.

Scores are one number per run. Seeds are paired: the runs of two arms with equal seed and oversight level form a pair.
All functions are pure and deterministic; those that sample use a fixed seed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri, stdtrit

CONFIDENCE = 0.95
ALPHA = 0.05  # family-wise error rate of the verdicts
POWER = 0.8
RESAMPLES = 2000  # of a bootstrap interval
EXACT_PAIRS = 20  # largest number of pairs whose sign flips are all enumerated
FLIPS = 99_999  # sign flips that are sampled for more pairs
TOLERANCE = 1e-12  # of the sum of absolute differences: sums of flips that differ by less count as equal
MOST_PAIRS = 1000  # a difference that needs more pairs than this is too small to be worth them

Verdict = Literal["better", "worse", "undecided"]


class Interval(NamedTuple):
    """The interval from mean - half to mean + half over n values; half is nan for fewer than two values."""

    mean: float
    half: float
    n: int


class PointEstimate(NamedTuple):
    """A value and its 95 % interval, which need not be symmetric; nan where there are too few values."""

    value: float
    low: float
    high: float


def interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Compute mean and half-width t s / sqrt(n) of Student's 95 % interval (Student 1908); nan values are dropped."""
    numbers = _numbers(values)
    n = len(numbers)
    if n == 0:
        return Interval(math.nan, math.nan, 0)
    if n == 1:
        return Interval(float(numbers[0]), math.nan, 1)
    t = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return Interval(float(numbers.mean()), float(t * numbers.std(ddof=1) / math.sqrt(n)), n)


def interquartile_mean(scores: Sequence[float] | np.ndarray) -> float:
    """Compute the mean of the middle half of the scores (Agarwal et al. 2021, arXiv 2108.13264, section 4.3).

    Args:
        scores: (n,) scores; nan values are dropped. floor(n / 4) are cut off at each end, so fewer than four scores
            give the plain mean.

    Returns:
        The interquartile mean; nan without scores.
    """
    numbers = _numbers(scores)
    return float(stats.trim_mean(numbers, 0.25)) if len(numbers) else math.nan


def interquartile_interval(strata: Sequence[Sequence[float] | np.ndarray]) -> PointEstimate:
    """Compute the interquartile mean of pooled strata and its stratified bootstrap interval.

    Every resample draws each stratum with replacement and keeps its size, as in Agarwal et al. 2021 (arXiv 2108.13264,
    section 4.1). The interval is the expanded percentile interval of Hesterberg 2015 (The American Statistician 69, doi
    10.1080/00031305.2015.1089789), since the plain one is too narrow for a dozen seeds. The expansion is that of the
    smallest stratum.

    Args:
        strata: scores of each stratum, (n_i,) each; nan values are dropped. A single stratum holds the seeds of an arm
            at one oversight level; several strata are the levels over which an arm is aggregated.

    Returns:
        The interquartile mean with its 95 % interval; the interval is nan if a stratum has fewer than two scores.
    """
    samples = [numbers for stratum in strata if len(numbers := _numbers(stratum))]
    value = interquartile_mean(np.concatenate(samples)) if samples else math.nan
    smallest = min(map(len, samples), default=0)
    if smallest < 2:
        return PointEstimate(value, math.nan, math.nan)

    def statistic(*resamples: np.ndarray, axis: int = -1) -> np.ndarray:
        return stats.trim_mean(np.concatenate(resamples, axis=axis), 0.25, axis=axis)

    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=_expanded(CONFIDENCE, smallest),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return PointEstimate(value, float(found.low), float(found.high))


def _expanded(confidence: float, n: int) -> float:
    """Return the level at which a percentile interval of n values is as wide as Student's."""
    tail = ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - confidence) / 2))
    return float(1 - 2 * tail)


def paired_differences(scores: Mapping[int, float], reference: Mapping[int, float]) -> np.ndarray:
    """Return score minus reference of every seed that has both, (n,) sorted by seed; nan on a side is no pair."""
    seeds = sorted(scores.keys() & reference.keys())
    return _numbers([scores[seed] - reference[seed] for seed in seeds])


def probability_of_improvement(differences: Sequence[float] | np.ndarray) -> PointEstimate:
    """Estimate P(X > Y) from paired seeds: the share of positive differences, where a difference of 0 counts half.

    Agarwal et al. 2021 (arXiv 2108.13264, section 4.3) compare all pairs of runs; seeds are paired here. The interval
    is Wilson's score interval of a share (Wilson 1927). A bootstrap interval would have width 0 if all seeds agree.

    Args:
        differences: (n,) paired differences; nan values are dropped.

    Returns:
        The probability with its 95 % interval; nan without differences.
    """
    numbers = _numbers(differences)
    n = len(numbers)
    if n == 0:
        return PointEstimate(math.nan, math.nan, math.nan)
    share = float(np.mean((np.sign(numbers) + 1) / 2))
    z = float(ndtri((1 + CONFIDENCE) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return PointEstimate(share, max(0.0, centre - half), min(1.0, centre + half))


def sign_flip_test(differences: Sequence[float] | np.ndarray) -> float:
    """Compute the two-sided p value of the sign-flip permutation test (Fisher 1935, The Design of Experiments, 21).

    Under the null hypothesis the two runs of a pair are exchangeable, so both signs of a difference are equally likely.
    p is the share of the 2^n sign vectors whose absolute sum is at least the observed one. It is exact for up to
    `EXACT_PAIRS` pairs. Above, `FLIPS` sign vectors are sampled, and the observed one is counted among them (Phipson
    and Smyth 2010). A difference of 0 is kept; it changes no sum and so does not change p.

    Args:
        differences: (n,) paired differences; nan values are dropped.

    Returns:
        p, at least 2 / 2^n; nan without differences.
    """
    numbers = _numbers(differences)
    if len(numbers) == 0:
        return math.nan
    least = abs(numbers.sum()) - TOLERANCE * np.abs(numbers).sum()
    if len(numbers) <= EXACT_PAIRS:
        return float(np.mean(np.abs(_flipped_sums(numbers)) >= least))
    reached = sum(int(np.sum(np.abs(sums) >= least)) for sums in _sampled_sums(numbers))
    return (reached + 1) / (FLIPS + 1)


def _flipped_sums(differences: np.ndarray) -> np.ndarray:
    """Return the sums (2^(n-1),) over all sign vectors whose first sign is +; the others are their negatives."""
    sums = differences[:1]
    for difference in differences[1:]:
        sums = np.concatenate([sums + difference, sums - difference])
    return sums


def _sampled_sums(differences: np.ndarray, chunk: int = 11_111) -> list[np.ndarray]:
    """Return the sums over `FLIPS` random sign vectors, in chunks that bound the memory."""
    random = np.random.default_rng(0)
    sizes = [min(chunk, FLIPS - start) for start in range(0, FLIPS, chunk)]
    return [(2 * random.integers(0, 2, (size, len(differences))) - 1) @ differences for size in sizes]


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust the p values of a family by Holm's step-down procedure (Holm 1979).

    Rejecting where the adjusted value is at most alpha bounds the probability of any false rejection by alpha, whatever
    the dependence of the tests.

    Args:
        p_values: (m,) p values; nan is no test and not counted in m.

    Returns:
        (m,) adjusted p values, nan where `p_values` is.
    """
    values = np.asarray(p_values, float)
    adjusted = np.full(values.shape, math.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return adjusted


def holm_levels(p_values: Sequence[float] | np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """Return the level alpha / (m - i) that each p value must not exceed in Holm's procedure.

    i is the number of smaller p values, so equal ones share the strictest of their levels.

    Args:
        p_values: (m,) p values; nan is no test and not counted in m.
        alpha: family-wise error rate.

    Returns:
        (m,) levels, nan where `p_values` is.
    """
    values = np.asarray(p_values, float)
    count = int(np.sum(~np.isnan(values)))
    smaller = np.sum(values[None, :] < values[:, None], axis=1)
    return np.where(np.isnan(values), math.nan, alpha / np.maximum(1, count - smaller))


def verdict(adjusted: float, mean: float) -> Verdict:
    """Return the verdict of a comparison: decided if the adjusted p value is at most `ALPHA`, by the mean's sign."""
    if not adjusted <= ALPHA:  # nan compares false: no test
        return "undecided"
    return "better" if mean > 0 else "worse"


def least_p(pairs: int) -> float:
    """Return the least p value that the sign-flip test of this many pairs can attain: 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - pairs))


def least_pairs(level: float) -> int:
    """Return the least number of pairs with which the sign-flip test can attain p <= `level`."""
    return next(pairs for pairs in range(1, 1100) if least_p(pairs) <= level)


def pairs_to_decide(differences: Sequence[float] | np.ndarray, level: float) -> int | None:
    """Estimate how many pairs would decide a comparison if its true mean and sd were the observed ones.

    The number gives a two-sided paired t test, whose power the sign-flip test approaches, a power of `POWER`. It is
    ((z_{1-level/2} + z_{POWER}) sd / mean)^2 + z_{1-level/2}^2 / 2, rounded up (Guenther 1981, The American
    Statistician 35), and never less than `least_pairs(level)`. The observed mean and sd are uncertain themselves, so
    with few pairs the number is a rough guide.

    Args:
        differences: (n,) paired differences; nan values are dropped.
        level: the level that p must not exceed, corrected for the family: the one of `holm_levels`.

    Returns:
        The number of pairs; None if it exceeds `MOST_PAIRS` or fewer than two differences are known.
    """
    numbers = _numbers(differences)
    if len(numbers) < 2 or numbers.mean() == 0:
        return None
    z = float(ndtri(1 - level / 2))
    needed = ((z + float(ndtri(POWER))) * numbers.std(ddof=1) / numbers.mean()) ** 2 + z**2 / 2
    return max(least_pairs(level), math.ceil(needed)) if needed <= MOST_PAIRS else None


def _numbers(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the values (n,) as float64 without nan."""
    numbers = np.asarray(values, float).ravel()
    return numbers[~np.isnan(numbers)]
