"""A speed is told as a multiple of another, measured in turn with it: A B A B, one ratio a round, their median.

Other programs slow both sides of a round alike, and take CPU time from neither. pytest-benchmark times one function
after the other and compares afterwards, which is what a noisy machine spoils; so this is our own.
"""

import resource
import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import psutil

Way = Callable[[], float]
"""Does some work, and says how much it was: steps, updates, calls."""


class Spread(NamedTuple):
    """Of a number over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> "Spread":
        ordered = sorted(numbers)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])


class Ratio(NamedTuple):
    """How many times as fast one way is as another."""

    cpu: Spread  # work in a CPU-second
    wall: Spread  # work in a second
    speed: float  # median work of the first in a CPU-second
    rounds: int

    def as_cost(self) -> "Ratio":
        """How many times as much one way costs; `speed` stays."""
        return self._replace(cpu=_inverse(self.cpu), wall=_inverse(self.wall))


class Speed(NamedTuple):
    """Work by time."""

    cpu: float
    wall: float


class Effort(NamedTuple):
    """How hard a benchmark looks."""

    rounds: int
    seconds: float  # the least time of one measurement
    whole: bool  # False: a trial, in which the slowest things are left small


def paired(a: Way, b: Way, rounds: int, seconds: float = 0.2) -> Ratio:
    """How many times as fast `a` is as `b`; each is called once before, and then for at least `seconds` a round."""
    a(), b()
    table = [(speed(a, seconds), speed(b, seconds)) for _ in range(rounds)]
    return Ratio(
        Spread.of(one.cpu / other.cpu for one, other in table),
        Spread.of(one.wall / other.wall for one, other in table),
        statistics.median(one.cpu for one, _ in table),
        rounds,
    )


def speed(way: Way, seconds: float) -> Speed:
    """Of `way`, called over and over for at least `seconds`."""
    work, cpu, start = 0.0, cpu_seconds(), time.perf_counter()
    while True:
        work += way()
        passed = time.perf_counter() - start
        if passed >= seconds:
            return Speed(work / max(cpu_seconds() - cpu, 1e-9), work / passed)


def cpu_seconds() -> float:
    """Of this process and of all that it has started, whether they have ended or not."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(sum(times[:4]) for times in living)


def _inverse(spread: Spread) -> Spread:
    return Spread(1 / spread.median, 1 / spread.most, 1 / spread.least)
