"""Writes numbers and estimates as text."""

import math

from flows.reporting.statistics import Interval, PointEstimate
from flows.tracking.results import Row


def number(value: float) -> str:
    """Format with three decimals; nan is a dash."""
    return "–" if math.isnan(value) else f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def count(value: float) -> str:
    """Format a mean number of things without decimals; nan is a dash."""
    return "–" if math.isnan(value) else f"{value:,.0f}"


def plusminus(value: Interval) -> str:
    """Format as "mean ± half", or as the mean alone if there is no interval."""
    return number(value.mean) if math.isnan(value.half) else f"{number(value.mean)} ± {number(value.half)}"


def bracketed(value: PointEstimate) -> str:
    """Format as "value [low, high]", or as the value alone if there is no interval."""
    return (
        number(value.value)
        if math.isnan(value.low)
        else (f"{number(value.value)} [{number(value.low)}, {number(value.high)}]")
    )


def deployed_return(row: Row) -> str:
    """Format the true return of a run under one rule, with its standard error where it is sampled."""
    if math.isnan(row.true_return_stderr):
        return f"{number(row.true_return)}{', exact' if row.exactness == 'exact' else ''}"
    return f"{number(row.true_return)} ± {number(row.true_return_stderr)} (standard error of the sampled episodes)"


def p_value(p: float) -> str:
    """Format with four decimals; nan is a dash."""
    return "–" if math.isnan(p) else f"{p:.4f}" if p >= 0.0001 else "<0.0001"
