"""Medians, spreads, and ratios within a round."""
import statistics
from dataclasses import dataclass

DISTURBED = 0.05  # share of a run that server or generator waited for a CPU somebody else had


@dataclass(frozen=True)
class Summary:
    value: float  # median
    spread: float | None  # half the interquartile range, relative to the median
    disturbed: bool  # somebody else had the CPU in most of the rounds

    def plus_minus(self):
        return "" if self.spread is None else f" ±{self.spread * 100:.0f}%"


def spread(values):
    """None if there are too few values to have one."""
    middle = statistics.median(values)
    if len(values) < 3 or not middle:
        return None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2 / abs(middle)


def quiet(run):
    return run.get("wait", 0.0) < DISTURBED


def summary_of(pairs):
    """Of (value, was it quiet): the quiet ones, if they are at least half of all."""
    undisturbed = [value for value, ok in pairs if ok]
    enough = len(undisturbed) * 2 >= len(pairs)
    values = undisturbed if enough else [value for value, _ in pairs]
    return Summary(statistics.median(values), spread(values), not enough)


def absolute(runs, key):
    pairs = [(run[key], quiet(run)) for run in runs if key in run]
    return summary_of(pairs) if pairs else None


def ratio(runs, base, key):
    """To the baseline's run of the same round: what drifts, drifts for both."""
    base_runs = {run["round"]: run for run in base if run.get(key)}
    pairs = []
    for run in runs:
        other = base_runs.get(run["round"])
        if key in run and other is not None:
            pairs.append((run[key] / other[key], quiet(run) and quiet(other)))
    return summary_of(pairs) if pairs else None
