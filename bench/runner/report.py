"""The results as text: Markdown tables, and bars."""
import os
import shutil
import sys
from dataclasses import dataclass

from . import stats
from .workloads import HEADLINES, WORKLOADS

RATIO_NOTE = (
    "The server's CPU time, or the time of a primitive, as a ratio to the first contestant's run "
    "of the same round: median ± half the interquartile range. Lower is better."
)
DISTURBED_NOTE = "~ somebody else was on our CPUs in most of these rounds."


def names_in(results, order):
    seen = {n for points in results.values() for runs in points.values() for n in runs}
    known = [name for name in order if name in seen]
    return known + sorted(seen - set(known))


def number(value, decimals):
    """With enough digits for small numbers."""
    if value and abs(value) < 0.1 and decimals:
        decimals += 1
    return f"{value:.{decimals}f}"


def table(head, rows):
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]

    def line(row):
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(head), rule] + [line(row) for row in rows])


# --- one workload ---


def first_with(key, runs, names):
    return next((n for n in names if any(key in r for r in runs.get(n, []))), None)


def bottleneck(runs):
    """Who was busy more than 90 % of the time: S the server, G the generator, B both, w neither."""
    server = stats.absolute(runs, "srv_busy")
    generator = stats.absolute(runs, "gen_busy")
    if server is None or generator is None:
        return ""
    busy = (server.value > 0.9, generator.value > 0.9)
    return " " + {(True, True): "B", (True, False): "S", (False, True): "G"}.get(busy, "w")


def cell(runs_by_name, name, names, metric):
    runs = runs_by_name.get(name, [])
    summary = stats.absolute(runs, metric.key)
    failed = sum("error" in run for run in runs)
    if summary is None:
        return "failed" if failed else "-"
    text = number(summary.value * metric.scale, metric.decimals)
    base = first_with(metric.key, runs_by_name, names)
    if base != name and metric.ratio:
        compared = stats.ratio(runs, runs_by_name[base], metric.key)
        if compared is not None:
            text += f" ({compared.value:.2f}{compared.plus_minus()})"
            summary = compared
    else:
        text += summary.plus_minus()
    if metric.key in ("rate", "MBps"):
        text += bottleneck(runs)
    return text + ("~" if summary.disturbed else "") + (f" !{failed}" if failed else "")


def metric_table(title, columns, names):
    """A column is (heading, runs by name, metric)."""
    names = [n for n in names if any(n in runs for _, runs, _ in columns)]
    rows = [[n] + [cell(runs, n, names, m) for _, runs, m in columns] for n in names]
    return f"**{title}**\n\n" + table([""] + [heading for heading, _, _ in columns], rows)


def workload_text(workload, points, names):
    parts = [f"### {workload.title}"]
    if workload.counts_calls:
        return "\n\n".join(parts + calls_tables(points, names))
    tests = [p for p in workload.points if p.test and p.label in points]
    if tests:
        columns = [(f"{p.label}, {m.title}", points[p.label], m) for p in tests for m in p.metrics]
        for start in range(0, len(columns), 6):
            parts.append(metric_table("per operation", columns[start : start + 6], names))
        return "\n\n".join(parts)
    for metric in workload.metrics:
        labels = list(points)
        for start in range(0, len(labels), 4):
            columns = [(label, points[label], metric) for label in labels[start : start + 4]]
            parts.append(metric_table(metric.title, columns, names))
    return "\n\n".join(parts)


def calls_tables(points, names):
    tables = []
    for label, runs in points.items():
        rows = []
        for name in (n for n in names if n in runs):
            run = runs[name][0]
            by_name = run.get("strace") or {}
            listed = [f"{call} {n:.2f}" for call, n in by_name.items() if n >= 0.005][:6]
            undisturbed = run.get("perf")
            perf = "-" if undisturbed is None else f"{undisturbed:.3f}"
            strace = f"{sum(by_name.values()):.3f}" if by_name else "-"
            rows.append([name, perf, strace, ", ".join(listed) or run.get("error", "-")])
        tables.append(f"**{label}**\n\n" + table(["", "perf", "strace", "by strace"], rows))
    if not tables:
        tables.append("Not counted: neither perf nor strace can be used here.")
    return tables


# --- headlines ---


@dataclass(frozen=True)
class Bar:
    name: str
    value: float  # the ratio, or the absolute value of a headline without one
    label: str  # beside the bar
    cell: str  # in the table


@dataclass(frozen=True)
class Panel:
    headline: object
    bars: tuple


def bar_for(headline, runs_by_name, name, base):
    runs = runs_by_name[name]
    plain = stats.absolute(runs, headline.key)
    if plain is None:
        return None
    text = f"{number(plain.value, headline.decimals)} {headline.unit}"
    if not headline.ratio:
        text += "~" if plain.disturbed else ""
        return Bar(name, max(plain.value, 0.0), text, text)
    compared = stats.ratio(runs, runs_by_name[base], headline.key)
    if compared is None:
        return None
    mark = "~" if compared.disturbed else ""
    cell = f"1 = {text}" if name == base else f"{compared.value:.2f}{compared.plus_minus()}"
    return Bar(name, compared.value, f"{compared.value:.2f}{mark}  {text}", cell + mark)


def panels(results, order):
    made = []
    for headline in HEADLINES:
        runs_by_name = results.get(headline.workload, {}).get(headline.point, {})
        names = [n for n in names_in(results, order) if n in runs_by_name]
        base = first_with(headline.key, runs_by_name, names)
        if base is None:
            continue
        bars = [bar_for(headline, runs_by_name, name, base) for name in names]
        made.append(Panel(headline, tuple(bar for bar in bars if bar is not None)))
    return made


def summary_table(made, order):
    """Contestants down, headlines across, in tables that fit a terminal."""
    parts = []
    for start in range(0, len(made), 4):
        some = made[start : start + 4]
        names = [n for n in order if any(b.name == n for p in some for b in p.bars)]
        rows = []
        for name in names:
            row = [name]
            for panel in some:
                bar = next((b for b in panel.bars if b.name == name), None)
                row.append("-" if bar is None else bar.cell)
            rows.append(row)
        parts.append(table([""] + [p.headline.title for p in some], rows))
    return "\n\n".join(parts)


def axis_end(panel):
    """Where a panel's axis ends; what is longer is cut off, its number says how long it is."""
    longest = max(bar.value for bar in panel.bars)
    if not panel.headline.ratio:
        return max(longest, 1.0)
    return min(max(longest, 1.5), 15.0)


def bars_text(made, order):
    width = max(20, min(60, shutil.get_terminal_size((100, 24)).columns - 50))
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    longest = max((len(bar.name) for panel in made for bar in panel.bars), default=0) + 1
    lines = []
    for panel in made:
        first = f"{panel.bars[0].name} = 1.00; " if panel.headline.ratio else ""
        lines.append(f"{panel.headline.title}  ({first}{panel.headline.unit} {panel.headline.per})")
        end = axis_end(panel)
        for bar in sorted(panel.bars, key=lambda b: order.index(b.name)):
            length = max(1, round(min(bar.value, end) / end * width))
            drawn = "█" * length + ("▶" if bar.value > end else "")
            line = f"  {bar.name:<{longest}}{drawn} {bar.label}"
            lines.append(f"\033[1m{line}\033[0m" if bold and bar.name == "ferry" else line)
        lines.append("")
    return "\n".join(lines).rstrip()


# --- all of it ---


def meta_text(meta):
    return "\n".join(f"- {key}: {value}" for key, value in meta.items())


def text(meta, results, order, details=True):
    names = names_in(results, order)
    parts = [meta_text(meta)]
    made = panels(results, names)
    if made:
        parts += ["### Summary", RATIO_NOTE, summary_table(made, names)]
        parts.append("```\n" + bars_text(made, names) + "\n```")
    if details:
        for name, points in results.items():
            if name in WORKLOADS:
                parts.append(workload_text(WORKLOADS[name], points, names))
    whole = "\n\n".join(parts)
    return whole + (f"\n\n{DISTURBED_NOTE}" if "~" in whole else "")
