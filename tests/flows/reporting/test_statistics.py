"""Estimators agree with hand-computed values and scipy; intervals cover, and tests keep their error rates."""

import math

import numpy as np
import pytest
from scipy import stats

from flows.reporting import statistics
from flows.reporting.statistics import (
    holm,
    holm_levels,
    interquartile_interval,
    interquartile_mean,
    interval,
    least_p,
    least_pairs,
    paired_differences,
    pairs_to_decide,
    probability_of_improvement,
    sign_flip_test,
    verdict,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("values", "mean", "half"),
    [
        ([1.0, 2.0, 3.0], 2.0, 4.302653 * 1 / math.sqrt(3)),  # t with 2 degrees of freedom
        ([0.0, 1.0], 0.5, 12.706205 * math.sqrt(0.5) / math.sqrt(2)),
        ([5.0] * 10, 5.0, 0.0),
        ([2.0, 4.0, 4.0, 6.0], 4.0, 3.182446 * math.sqrt(8 / 3) / 2),
    ],
)
def test_the_interval_equals_students_table(values, mean, half):
    found = interval(values)
    assert (found.mean, found.n) == (mean, len(values))
    assert found.half == pytest.approx(half, rel=1e-6)


def test_one_seed_has_no_interval_and_nan_is_not_counted():
    assert interval([0.5, NAN])[::2] == (0.5, 1)
    assert math.isnan(interval([0.5]).half)
    assert interval([NAN]).n == 0


def test_students_interval_covers_the_true_mean_in_95_of_100_samples():
    random = np.random.default_rng(0)
    samples = [interval(list(row)) for row in random.normal(1.0, 2.0, (4000, 3))]
    covered = np.mean([abs(found.mean - 1.0) <= found.half for found in samples])
    assert covered == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(
    ("scores", "mean"),
    [
        ([3.0], 3.0),
        ([1.0, 2.0, 6.0], 3.0),  # fewer than four: nothing is cut off
        ([100.0, 1.0, 2.0, -50.0], 1.5),
        ([0.0, 1.0, 2.0, 3.0, 100.0], 2.0),
        ([9.0, 0.0, 4.0, 5.0, 6.0, -9.0, 1.0, 99.0, NAN], 4.0),  # of 8, the middle 4: 1, 4, 5, 6
    ],
)
def test_the_interquartile_mean_equals_the_mean_of_the_middle_half(scores, mean):
    assert interquartile_mean(scores) == pytest.approx(mean)


def test_the_interquartile_mean_of_nothing_is_nan():
    assert math.isnan(interquartile_mean([]))
    assert all(map(math.isnan, interquartile_interval([])))


@pytest.mark.parametrize("draw", ["normal", "standard_exponential", "standard_t"])
def test_the_bootstrap_interval_covers_the_interquartile_mean(draw):
    random = np.random.default_rng(1)
    arguments = (3,) if draw == "standard_t" else ()
    sample = getattr(random, draw)
    means = stats.trim_mean(sample(*arguments, size=(100_000, 12)), 0.25, axis=1)
    found = [interquartile_interval([row]) for row in sample(*arguments, size=(400, 12))]
    assert np.mean([low <= means.mean() <= high for _, low, high in found]) >= 0.92
    widths = [high - low for _, low, high in found]
    assert np.median(widths) < 1.5 * 2 * 1.96 * means.std()  # an interval without bounds would cover as well


def test_a_stratified_interval_ignores_the_distance_between_strata():
    random = np.random.default_rng(2)
    low, high = random.normal(0, 0.01, 12), random.normal(10, 0.01, 12)
    stratified = interquartile_interval([low, high])
    pooled = interquartile_interval([np.concatenate([low, high])])
    assert stratified.value == pooled.value
    assert stratified.high - stratified.low < 0.1
    assert pooled.high - pooled.low > 1


def test_a_stratified_interval_covers_the_mean_over_levels():
    random = np.random.default_rng(3)
    centres = np.array([[0.1], [0.3], [0.5]])
    draws = centres + 0.2 * random.normal(size=(20_000, 3, 12))
    truth = np.mean(stats.trim_mean(draws.reshape(-1, 36), 0.25, axis=1))
    found = [interquartile_interval(list(levels)) for levels in draws[:400]]
    assert np.mean([low <= truth <= high for _, low, high in found]) >= 0.92


def test_a_bootstrap_interval_is_the_same_each_time_and_needs_two_seeds():
    assert interquartile_interval([[1.0, 2.0, 4.0]]) == interquartile_interval([[1.0, 2.0, 4.0]])
    value, low, high = interquartile_interval([[1.0, 2.0], [3.0]])
    assert value == 2.0
    assert math.isnan(low)
    assert math.isnan(high)


def test_equal_scores_have_an_interval_without_width():
    assert interquartile_interval([[0.5] * 6]) == (0.5, 0.5, 0.5)


def test_only_seeds_with_both_sides_are_pairs():
    scores, reference = {3: 1.0, 0: 5.0, 1: NAN, 2: 2.0}, {0: 1.0, 1: 1.0, 2: NAN, 3: 3.0, 9: 7.0}
    assert paired_differences(scores, reference).tolist() == [4.0, -2.0]
    assert paired_differences({}, reference).shape == (0,)


@pytest.mark.parametrize(
    ("differences", "share", "low", "high"),
    [
        ([1.0, 2.0, -1.0, 0.0], 0.625, 0.2194, 0.9081),  # 0.5638 -+ 0.3443
        ([1.0] * 12, 1.0, 0.7575, 1.0),  # 12 / (12 + z^2)
        ([-0.1] * 12, 0.0, 0.0, 0.2425),
        ([0.0, NAN], 0.5, 0.0546, 0.9454),
    ],
)
def test_the_probability_of_improvement_counts_ties_half(differences, share, low, high):
    assert probability_of_improvement(differences) == pytest.approx((share, low, high), abs=2e-4)


@pytest.mark.parametrize("wins", [0, 3, 12])
def test_the_interval_of_the_probability_of_improvement_is_wilsons(wins):
    _, low, high = probability_of_improvement([1.0] * wins + [-1.0] * (12 - wins))
    assert (low, high) == pytest.approx(tuple(stats.binomtest(wins, 12).proportion_ci(method="wilson")))


@pytest.mark.parametrize("probability", [0.5, 0.8, 0.95])
def test_the_interval_of_the_probability_of_improvement_covers_it(probability):
    random = np.random.default_rng(4)
    samples = np.where(random.random((2000, 12)) < probability, 1.0, -1.0)
    found = [probability_of_improvement(row) for row in samples]
    assert np.mean([low <= probability <= high for _, low, high in found]) >= 0.92


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0], 1.0),
        ([1.0, 2.0], 0.5),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 2 / 32),
        ([-1.0, 2.0, 3.0], 4 / 8),  # sums of absolute value 4 or more: 4, 6 and their negatives
        ([1.0, 1.0, -1.0], 1.0),  # a sum of 1 is the least
        ([0.0, 0.0, 1.0, 1.0], 0.5),  # as without the zeros
        ([0.0, 0.0], 1.0),
        ([NAN, 1.0, 2.0], 0.5),
    ],
)
def test_the_sign_flip_test_equals_the_count_by_hand(differences, p):
    assert sign_flip_test(differences) == p


def test_the_sign_flip_test_equals_scipys_permutation_test():
    random = np.random.default_rng(5)
    for n in (2, 5, 9, 12):
        differences = random.normal(0.3, 1.0, n).round(1)  # rounded: sums tie
        expected = stats.permutation_test(
            (differences,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=np.inf,
            vectorized=True,
        )  # fmt: skip
        assert sign_flip_test(differences) == pytest.approx(expected.pvalue)


def test_equal_sums_tie_although_they_round_differently():
    differences = [0.1, 0.2, 0.3]  # 0.1 + 0.2 - 0.3 and 0 differ by a rounding error
    assert sign_flip_test([*differences, -0.6]) == 1.0
    assert sign_flip_test([0.1] * 10 + [-0.3]) == sign_flip_test([1] * 10 + [-3])


def test_sampled_sign_flips_approach_the_exact_test(monkeypatch):
    differences = np.random.default_rng(6).normal(0.4, 1.0, 20)
    exact = sign_flip_test(differences)
    monkeypatch.setattr(statistics, "EXACT_PAIRS", 19)
    sampled = sign_flip_test(differences)
    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact / statistics.FLIPS))
    assert sampled == sign_flip_test(differences)
    assert sampled != exact


def test_sampled_sign_flips_count_the_observed_one():
    assert sign_flip_test([1.0] * 40) == 1 / (statistics.FLIPS + 1)


def test_no_differences_are_no_test():
    assert math.isnan(sign_flip_test([]))
    assert math.isnan(sign_flip_test([NAN]))


@pytest.mark.parametrize("draw", ["normal", "laplace", "uneven"])
def test_the_sign_flip_test_rejects_a_true_null_hypothesis_in_at_most_5_of_100_samples(draw):
    random = np.random.default_rng(7)
    samples = random.normal(size=(4000, 8)) if draw != "laplace" else random.laplace(size=(4000, 8))
    if draw == "uneven":  # symmetric, but of another scale in each pair
        samples *= np.array([1, 1, 1, 1, 1, 1, 10, 100])
    rejected = np.mean([sign_flip_test(row) <= 0.05 for row in samples])
    assert rejected <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 4000)
    assert rejected >= 0.03


def test_the_p_values_adjusted_by_holm_equal_the_example_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


def test_what_is_no_test_does_not_count_in_the_family():
    assert holm([NAN, 0.02, 0.03]) == pytest.approx([NAN, 0.04, 0.04], nan_ok=True)
    assert holm_levels([NAN, 0.02, 0.03]) == pytest.approx([NAN, 0.025, 0.05], nan_ok=True)


def test_equal_p_values_share_the_strictest_level():
    assert holm_levels([0.2, 0.01, 0.2, 0.3]) == pytest.approx([0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05])


def test_holms_levels_and_adjusted_values_reject_alike():
    random = np.random.default_rng(8)
    for _ in range(200):
        p_values = random.random(6) ** 4
        order = np.argsort(p_values)
        passed = (p_values <= holm_levels(p_values))[order]
        assert np.array_equal(np.cumprod(passed), (holm(p_values) <= 0.05)[order])


def test_holm_bounds_the_probability_of_any_error_among_20_true_null_hypotheses():
    random = np.random.default_rng(9)
    families = random.normal(size=(200, 20, 10)) + random.normal(size=(200, 1, 10))  # share the reference's noise
    errors = [min(holm([sign_flip_test(row) for row in family])) <= 0.05 for family in families]
    assert np.mean(errors) <= 0.05


@pytest.mark.parametrize(
    ("adjusted", "mean", "expected"),
    [
        (0.05, 0.1, "better"),
        (0.01, -0.1, "worse"),
        (0.051, 0.1, "undecided"),
        (NAN, 0.1, "undecided"),
        (NAN, NAN, "undecided"),
    ],
)
def test_a_verdict_needs_an_adjusted_p_of_5_percent_at_most(adjusted, mean, expected):
    assert verdict(adjusted, mean) == expected


def test_five_pairs_decide_nothing_and_twelve_decide_in_a_family_of_102():
    assert [least_p(n) for n in (0, 1, 5, 12)] == [1.0, 1.0, 0.0625, 2 / 4096]
    assert least_pairs(0.05) == 6
    assert least_pairs(0.05 / 102) == 12
    assert least_pairs(0.05 / 103) == 13
    assert sign_flip_test([1.0] * 5) == least_p(5)


@pytest.mark.parametrize(("effect", "level"), [(0.5, 0.05), (1.0, 0.05), (1.0, 0.05 / 60), (0.8, 0.05 / 10)])
def test_the_number_of_pairs_to_decide_has_80_percent_power_in_the_t_test(effect, level):
    differences = effect + math.sqrt(3 / 2) * np.array([-1.0, 0.0, 1.0, 0.0]) * 1.0  # sd 1 with ddof 1
    assert differences.std(ddof=1) == pytest.approx(1.0)
    n = pairs_to_decide(differences, level)
    critical = stats.t.ppf(1 - level / 2, n - 1)
    power = stats.nct.sf(critical, n - 1, effect * math.sqrt(n)) + stats.nct.cdf(-critical, n - 1, effect * n**0.5)
    assert 0.79 <= power <= 0.85


def test_the_sign_flip_test_has_about_80_percent_power_with_the_pairs_to_decide():
    random = np.random.default_rng(10)
    differences = 1.0 + math.sqrt(3 / 2) * np.array([-1.0, 0.0, 1.0, 0.0])
    n = pairs_to_decide(differences, 0.01)
    power = np.mean([sign_flip_test(row) <= 0.01 for row in random.normal(1.0, 1.0, (500, n))])
    assert power == pytest.approx(0.8, abs=0.07)


def test_the_number_of_pairs_to_decide_is_attainable_and_not_absurd():
    assert pairs_to_decide([1.0, 1.001, 0.999], 0.05 / 60) == least_pairs(0.05 / 60) == 12
    assert pairs_to_decide([1.0, 1.0], 0.05) == 6
    assert pairs_to_decide([1.0, -1.0, 0.01], 0.05) is None
    assert pairs_to_decide([0.0, 0.0], 0.05) is None
    assert pairs_to_decide([0.3], 0.05) is None
    assert pairs_to_decide([], 0.05) is None
