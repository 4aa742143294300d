import time

from benchmarks.harness.paired import Spread, cpu_seconds, paired


def nap(milliseconds):
    def way():
        time.sleep(milliseconds / 1e3)
        return 1.0

    return way


def test_a_way_is_as_fast_as_itself():
    ratio = paired(nap(2), nap(2), rounds=5, seconds=0.01)
    assert ratio.wall.least <= 1.05
    assert ratio.wall.most >= 0.95


def test_a_way_that_takes_twice_as_long_is_half_as_fast_and_costs_double():
    ratio = paired(nap(20), nap(10), rounds=3, seconds=0.04)
    assert 0.4 < ratio.wall.median < 0.6
    assert 1.6 < ratio.as_cost().wall.median < 2.5


def test_sleep_is_not_counted_as_work_of_the_processor():
    before = cpu_seconds()
    time.sleep(0.1)
    assert cpu_seconds() - before < 0.05


def test_the_spread_of_numbers_is_their_median_least_and_most():
    assert Spread.of([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
