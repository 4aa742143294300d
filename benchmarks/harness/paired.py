"""Paired timing: two workloads run in turn (A B A B), giving one ratio of speeds per round.

Other programs slow both workloads of a round alike, and do not add to the CPU time of either. pytest-benchmark times
one function after the other and compares afterwards, which load on the machine distorts; hence this module.
"""

import resource
import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import psutil

Workload = Callable[[], float]
"""Does some work and returns its amount: steps, updates, calls."""


class Spread(NamedTuple):
    """Median and range of a number over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> "Spread":
        ordered = sorted(numbers)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])


class Ratio(NamedTuple):
    """Speed of one workload divided by that of another."""

    cpu: Spread  # by work per CPU-second
    wall: Spread  # by work per second of wall-clock time
    speed: float  # median work of the first workload per CPU-second
    rounds: int

    def as_cost(self) -> "Ratio":
        """Return the ratio of costs, the inverse of the ratio of speeds; `speed` is unchanged."""
        return self._replace(cpu=_inverse(self.cpu), wall=_inverse(self.wall))


class Speed(NamedTuple):
    """Work per second."""

    cpu: float
    wall: float


class Effort(NamedTuple):
    """Extent of a benchmark."""

    rounds: int
    seconds: float  # minimum time of one measurement
    full: bool  # False: quick trial, without the slowest measurements


def measure_ratio(a: Workload, b: Workload, rounds: int, seconds: float = 0.2) -> Ratio:
    """Return the speed of `a` divided by the speed of `b`.

    Args:
        a: workload under test.
        b: reference workload.
        rounds: number of rounds; each measures `a`, then `b`. Both are called once before the first round.
        seconds: minimum time of each measurement.
    """
    a(), b()
    table = [(measure_speed(a, seconds), measure_speed(b, seconds)) for _ in range(rounds)]
    return Ratio(
        Spread.of(first.cpu / second.cpu for first, second in table),
        Spread.of(first.wall / second.wall for first, second in table),
        statistics.median(first.cpu for first, _ in table),
        rounds,
    )


def measure_speed(workload: Workload, seconds: float) -> Speed:
    """Call `workload` repeatedly for at least `seconds`, and return its speed."""
    work, cpu, start = 0.0, cpu_seconds(), time.perf_counter()
    while True:
        work += workload()
        passed = time.perf_counter() - start
        if passed >= seconds:
            return Speed(work / max(cpu_seconds() - cpu, 1e-9), work / passed)


def cpu_seconds() -> float:
    """CPU time of this process and of all its descendants, running or ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(sum(times[:4]) for times in running)


def _inverse(spread: Spread) -> Spread:
    return Spread(1 / spread.median, 1 / spread.most, 1 / spread.least)
