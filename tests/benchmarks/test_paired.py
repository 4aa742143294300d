import time

from benchmarks.harness.paired import Spread, cpu_seconds, measure_ratio


def sleeping(milliseconds):
    def run():
        time.sleep(milliseconds / 1e3)
        return 1.0

    return run


def test_a_workload_is_as_fast_as_itself():
    ratio = measure_ratio(sleeping(2), sleeping(2), rounds=5, seconds=0.01)
    assert ratio.wall.least <= 1.05
    assert ratio.wall.most >= 0.95


def test_a_workload_that_takes_twice_as_long_has_half_the_speed_and_twice_the_cost():
    ratio = measure_ratio(sleeping(20), sleeping(10), rounds=3, seconds=0.04)
    assert 0.4 < ratio.wall.median < 0.6
    assert 1.6 < ratio.as_cost().wall.median < 2.5


def test_sleeping_takes_no_cpu_time():
    before = cpu_seconds()
    time.sleep(0.1)
    assert cpu_seconds() - before < 0.05


def test_a_spread_is_the_median_minimum_and_maximum():
    assert Spread.of([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
