#!/usr/bin/env python3
"""Compares ferry with its peers on this machine; docs/benchmarks.md says how and what.

  run.py [WORKLOAD ...]      measure (all workloads if none is named) and report
  run.py demo                a short comparison, every byte checked
  run.py report FILE ...     the report of runs that were kept as JSON
"""
import argparse
import json
import os
import signal
import sys
import time

sys.dont_write_bytecode = True

from runner import chart, machine, measure, report, syscalls  # noqa: E402
from runner.contestants import BENCH, all_contestants  # noqa: E402
from runner.workloads import WORKLOADS  # noqa: E402

DEFAULT_BUILD = os.path.join(os.path.dirname(BENCH), "build", "release", "bench")
DEMO_SECONDS = 19.0
DEMO_CONTESTANTS = ("epoll", "ferry", "libuv", "asio", "libevent", "asyncio")
DEMO_POINTS = {"echo": ("16x64",), "split": ("16x64",), "bulk": ("both ways, 1",)}


def parser():
    names = ", ".join(WORKLOADS)
    made = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__.splitlines()[0],
        epilog=f"Workloads: {names}. Also: demo; report FILE...",
    )
    add = made.add_argument
    add("what", nargs="*", help="workloads; or demo; or report and JSON files")
    add("--only", help="contestants, comma-separated")
    add("--extra", action="store_true", help="the variants too")
    add("--points", help="points, separated by semicolons, as the tables name them")
    add("--rounds", type=int, default=5)
    add("--time", type=float, default=0.5, help="measured seconds of a run")
    add("--bytes", default="1G", help="of a bulk run")
    add("--quick", action="store_true", help="a smoke test; the numbers mean nothing")
    add("--verify", action="store_true", help="compare every byte, also while measuring")
    add("--cpus", help="two CPUs, for server and generator (default: the first two)")
    add("--retries", type=int, default=3, help="of a run in which somebody else had the CPU")
    add("--patience", type=float, default=60, help="seconds in all to wait for a quiet machine")
    add("--build", default=DEFAULT_BUILD, help="folder of the programs")
    add("--json", metavar="FILE", help="keep every run")
    add("--svg", metavar="FILE", help="draw the summary")
    return made


def settings_from(arguments):
    settings = measure.Settings(
        build=arguments.build,
        cpus=machine.choose_cpus(arguments.cpus),
        rounds=arguments.rounds,
        seconds=arguments.time,
        bulk=arguments.bytes,
        retries=arguments.retries,
        patience=arguments.patience,
        verify=arguments.verify,
    )
    if arguments.quick:
        settings.rounds, settings.seconds, settings.bulk = 1, 0.1, "64M"
        settings.idle, settings.tls_idle = 1000, 500
        settings.divide, settings.retries, settings.patience = 20, 0, 0.0
    return settings


def chosen(everybody, arguments, workload):
    """Who takes part in a workload, as far as it is built."""
    if arguments.only:
        wanted = arguments.only.split(",")
        return [c for c in everybody if c.name in wanted]
    return [c for c in everybody if not c.extra or arguments.extra or c.name in workload.also]


def built_contestants(build):
    everybody = all_contestants(build)
    built = [c for c in everybody if c.built()]
    if not os.path.exists(os.path.join(build, "gen")):
        sys.exit(f"bench: nothing is built in {build}")
    missing = [c.name for c in everybody if c not in built and not c.extra]
    if missing:
        machine.note(f"bench: not built, so left out: {', '.join(missing)}")
    if no_tls := [c.name for c in built if c.tls and not c.command("tls")]:
        machine.note(f"bench: not built with TLS, so left out there: {', '.join(no_tls)}")
    return built


# --- keeping and reporting ---


def save_json(path, meta, runs):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"meta": meta, "runs": runs}, file, indent=1)
        file.write("\n")


def publish(arguments, meta, runs, details=True):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may stop, as `head` does
    order = [c.name for c in all_contestants(arguments.build)]
    print(report.text(meta, runs, order, details))
    if arguments.svg:
        panels = report.panels(runs, order)
        if not panels:
            sys.exit("bench: these runs hold nothing to draw")
        with open(arguments.svg, "w", encoding="utf-8") as file:
            file.write(chart.svg(panels, meta))
        machine.note(f"bench: chart in {arguments.svg}")
    if arguments.json:
        machine.note(f"bench: every run in {arguments.json}")


def every_run(runs):
    """Pairs of a contestant's name and a run."""
    for points in runs.values():
        for by_name in points.values():
            for name, some in by_name.items():
                for run in some:
                    yield name, run


def load(files):
    """Several files as one: their rounds go on where those of the file before ended."""
    meta, merged = {}, {}
    for position, name in enumerate(files):
        try:
            with open(name, encoding="utf-8") as file:
                content = json.load(file)
            meta, runs = {**content["meta"], **meta}, content["runs"]
        except (OSError, ValueError, KeyError) as error:
            sys.exit(f"bench: {name} holds no runs: {error}")
        for workload, points in runs.items():
            for point, by_name in points.items():
                kept = merged.setdefault(workload, {}).setdefault(point, {})
                for contestant, some in by_name.items():
                    moved = [dict(r, round=r["round"] + position * 100_000) for r in some]
                    kept.setdefault(contestant, []).extend(moved)
    return meta, merged


# --- the three things it does ---


def measure_workloads(arguments):
    names = arguments.what or list(WORKLOADS)
    if unknown := [n for n in names if n not in WORKLOADS]:
        sys.exit(f"bench: no such workload: {', '.join(unknown)}; --help names them")
    everybody = built_contestants(arguments.build)
    settings = settings_from(arguments)
    labels = arguments.points.split(";") if arguments.points else None
    runner = measure.Runner(everybody, settings)
    taking_part = [
        c for c in everybody
        if any(c in chosen(everybody, arguments, WORKLOADS[name]) for name in names)
    ]
    meta = machine.description(taking_part, settings.cpus)
    meta["runs"] = f"{settings.rounds} rounds of {settings.seconds} s a point"
    if "syscalls" in names and not syscalls.usable_tools():
        machine.note("bench: neither perf nor strace can be used here: no counts of system calls")
        names = [n for n in names if n != "syscalls"]
    for name in names:
        workload = WORKLOADS[name]
        runner.run(workload, chosen(everybody, arguments, workload), labels)
        if arguments.json:
            save_json(arguments.json, meta, runner.runs)
    publish(arguments, meta, runner.runs)
    return 1 if runner.failures else 0


def demo(arguments):
    everybody = [c for c in built_contestants(arguments.build) if c.name in DEMO_CONTESTANTS]
    settings = measure.Settings(
        build=arguments.build,
        cpus=machine.choose_cpus(arguments.cpus),
        rounds=3,
        seconds=0.25,
        bulk="128M",
        retries=0,
        patience=0.0,
        verify=True,
    )
    started = time.monotonic()
    runner = measure.Runner(everybody, settings)
    meta = machine.description(everybody, settings.cpus)
    for position, (name, labels) in enumerate(DEMO_POINTS.items(), start=1):
        settings.deadline = started + DEMO_SECONDS * position / len(DEMO_POINTS)
        runner.run(WORKLOADS[name], everybody, labels)
    publish(arguments, meta, runner.runs, details=False)
    if arguments.json:
        save_json(arguments.json, meta, runner.runs)
    if runner.wrong_bytes:
        print(f"\nFAILED: {runner.wrong_bytes} runs with wrong bytes")
    elif runner.failures:
        print(f"\nFAILED: {runner.failures} runs did not end")
    else:
        compared = sum(run["verified"] for _, run in every_run(runner.runs))
        print(f"\nEvery byte was right: {compared / 2**30:.2f} GiB compared.")
    return 1 if runner.failures else 0


def main():
    arguments = parser().parse_args()
    if arguments.what[:1] == ["report"]:
        publish(arguments, *load(arguments.what[1:]))
        return 0
    machine.enter_namespace()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are stopped
    try:
        return demo(arguments) if arguments.what == ["demo"] else measure_workloads(arguments)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
