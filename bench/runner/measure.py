"""Runs the contestants in turn, and keeps every run."""
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass

from . import machine, syscalls
from .machine import note

RUN_SECONDS = 150  # the bound of any single run
AGAIN = 0.02  # a run that waited this share of its time for a CPU is made again


class RunFailed(Exception):
    def __init__(self, text, wrong_bytes=False):
        super().__init__(text)
        self.wrong_bytes = wrong_bytes


@dataclass
class Settings:
    build: str
    cpus: list
    rounds: int = 5
    seconds: float = 0.5
    bulk: str = "1G"
    idle: int = 10000
    tls_idle: int = 2000
    divide: int = 1  # of the numbers of the primitives
    retries: int = 3
    patience: float = 60.0
    verify: bool = False
    deadline: float = 0.0  # no new round after it, but for the first; 0: none

    def load(self, template):
        # On the machine's own loopback closed connections use up ports for a while.
        churn = 0 if machine.own_network() else 10000
        arguments = template.format(
            time=self.seconds,
            bytes=self.bulk,
            idle=self.idle,
            tls_idle=self.tls_idle,
            churn=churn,
        ).split()
        if self.verify and arguments[0] in ("echo", "bulk", "udp"):
            arguments += ["--verify", "1"]
        return arguments


class Server:
    """A contestant's server, pinned, ready. Stopped between its runs: it disturbs nobody."""

    def __init__(self, contestant, mode, port, settings):
        command = list(contestant.command(mode)) + [contestant.called(mode), str(port)]
        if contestant.variant:
            command.append(contestant.variant)
        self.port = port
        self.name = f"{contestant.name} {mode}"
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            preexec_fn=machine.pinned(settings.cpus[0]),
        )
        try:
            self.wait_until_ready()
        except RunFailed:
            self.stop()
            raise

    def wait_until_ready(self):
        os.set_blocking(self.process.stdout.fileno(), False)
        said, give_up = b"", time.monotonic() + 15
        while b"READY" not in said:
            said += self.process.stdout.read() or b""
            if self.process.poll() is not None:
                raise RunFailed(f"{self.name} ended with status {self.process.returncode}")
            if time.monotonic() > give_up:
                raise RunFailed(f"{self.name} is not ready after 15 s")
            time.sleep(0.005)

    @property
    def pid(self):
        return self.process.pid

    def pause(self):
        time.sleep(0.02)  # let it see that the generator is gone
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        if self.process.poll() is not None:
            raise RunFailed(f"{self.name} ended with status {self.process.returncode}")
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()


def run_program(command, cpu=None, environment=None):
    """Its JSON object; None if it has no such thing (exit status 2)."""
    prepare = machine.pinned(cpu) if cpu is not None else None
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            preexec_fn=prepare,
            env=dict(os.environ, **(environment or {})),
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"no end after {RUN_SECONDS} s") from error
    if done.returncode == 2:
        return None
    if done.returncode != 0:
        reason = done.stderr.strip() or f"exit status {done.returncode}"
        raise RunFailed(reason, wrong_bytes=done.returncode == 3)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise RunFailed(f"not JSON: {done.stdout!r}") from error


class Runner:
    """Measures workloads; self.runs is {workload: {point: {contestant: [run, …]}}}."""

    def __init__(self, contestants, settings):
        self.contestants = contestants
        self.settings = settings
        self.patience = machine.Patience(settings.patience)
        self.runs = {}
        self.failures = 0
        self.wrong_bytes = 0
        self.servers = {}
        self.next_port = 20000

    def run(self, workload, contestants, labels=None):
        points = [p for p in workload.points if labels is None or p.label in labels]
        results = self.runs.setdefault(workload.name, {})
        try:
            for point in points:
                able = [c for c in contestants if self.can(c, point)]
                if not able:
                    note(f"  {workload.name} {point.label}: nobody here can do it, so left out")
                    continue
                self.patience.wait_for_quiet()
                results[point.label] = self.run_point(workload, point, able)
        finally:
            self.stop_servers()

    @staticmethod
    def can(contestant, point):
        return bool(contestant.tester(point) if point.test else contestant.command(point.mode))

    def run_point(self, workload, point, able):
        started = time.monotonic()
        runs = {c.name: [] for c in able}
        for number in range(self.rounds(workload)):
            late = self.settings.deadline and time.monotonic() > self.settings.deadline
            if number > 0 and late:
                break
            turn = number % len(able)
            for contestant in able[turn:] + able[:turn]:
                run = self.attempt(workload, point, contestant)
                if run is not None:
                    runs[contestant.name].append(dict(run, round=number))
        self.tell(workload, point, runs, time.monotonic() - started)
        return {name: of_one for name, of_one in runs.items() if of_one}

    def rounds(self, workload):
        return 1 if workload.counts_calls else self.settings.rounds

    def tell(self, workload, point, runs, seconds):
        disturbed = sum(run.get("wait", 0) >= AGAIN for of_one in runs.values() for run in of_one)
        text = f"  {workload.name} {point.label}: {seconds:.0f} s"
        note(text + (f", {disturbed} runs disturbed" if disturbed else ""))

    def attempt(self, workload, point, contestant):
        try:
            if point.test:
                return self.run_test(point, contestant)
            if workload.counts_calls:
                return self.count_calls(point, contestant)
            return self.run_load(workload, point, contestant)
        except RunFailed as error:
            note(f"  !! {workload.name} {point.label}, {contestant.name}: {error}")
            self.failures += 1
            self.wrong_bytes += error.wrong_bytes
            self.drop_server(contestant, point.mode)
            return {"error": str(error)}

    # --- a server and the generator ---

    def run_load(self, workload, point, contestant):
        """One run, made again if somebody else had the CPU; the least disturbed one counts."""
        server = self.server_for(contestant, point.mode)
        attempts = []
        for _ in range(1 + self.settings.retries):
            run = self.generate(point, server)
            run["wait"] = max(run.get("srv_wait", 0.0), run.get("gen_wait", 0.0))
            attempts.append(run)
            if workload.fresh or run["wait"] < AGAIN:
                break
        best = min(attempts, key=lambda run: run["wait"])
        if workload.fresh:
            self.drop_server(contestant, point.mode)
        else:
            server.pause()
        others = [run for run in attempts if run is not best]
        return dict(best, disturbed_attempts=others) if others else best

    def generate(self, point, server):
        command = [os.path.join(self.settings.build, "gen")] + self.settings.load(point.load)
        command += ["--port", str(server.port), "--server", str(server.pid)]
        run = run_program(command, self.settings.cpus[1])
        if run is None:
            raise RunFailed("the generator does not know this load")
        return run

    def server_for(self, contestant, mode):
        key = (contestant.name, mode)
        if key in self.servers:
            self.servers[key].resume()
        else:
            self.next_port += 1
            self.servers[key] = Server(contestant, mode, self.next_port, self.settings)
        return self.servers[key]

    def drop_server(self, contestant, mode):
        server = self.servers.pop((contestant.name, mode), None)
        if server is not None:
            server.stop()

    def stop_servers(self):
        for server in self.servers.values():
            server.stop()
        self.servers.clear()

    # --- primitives, children, system calls ---

    def run_test(self, point, contestant):
        number = max(1, point.number // self.settings.divide)
        command = list(contestant.tester(point)) + [point.test, str(number)]
        environment = {"BENCH_CPUS": ",".join(str(cpu) for cpu in self.settings.cpus)}
        if point.program == "child":
            command += [contestant.variant] if contestant.variant else []
            environment["PIPEGEN"] = os.path.abspath(os.path.join(self.settings.build, "pipegen"))
            environment["FERRY_CHILD_HEAP_MIB"] = str(point.heap_mib // self.settings.divide)
        return run_program(command, environment=environment)

    def count_calls(self, point, contestant):
        run = {}
        for tool in syscalls.usable_tools():
            server = self.server_for(contestant, point.mode)
            with syscalls.Counting(tool, server.pid) as counting:
                self.generate(point, server)
            self.drop_server(contestant, point.mode)
            run[tool] = counting.calls_per(point.number)
        return run or None
