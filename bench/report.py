"""bench/README.md and its plots from a results file: `python -m bench.report RESULTS`, in the bench environment."""

from __future__ import annotations

import json
import platform
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.cases import CASES, Case
from bench.engines import ENGINES
from bench.environment import ROOT
from bench.measure import Run
from bench.plots import bars, growth

README = ROOT / "bench" / "README.md"
PLOTS = ROOT / "bench" / "plots"
BEGIN, END = "<!-- results: written by python -m bench.merge --publish -->", "<!-- end of results -->"
HEADER = (
    "engine",
    "seconds (min to max)",
    "x ours",
    "peak RSS MB",
    "above start MB",
    "peak PSS MB",
    "written MB",
    "files",
    "commits",
    "requests",
    "rows equal",
)
LIBRARIES = ("deltalake", "polars", "duckdb", "pyarrow", "obstore")


@dataclass(frozen=True)
class Line:
    """Medians of one engine in one case."""

    engine: str
    runs: tuple[Run, ...]

    def median(self, field: str) -> float:
        return statistics.median(getattr(run, field) for run in self.runs)

    @property
    def seconds(self) -> float:
        return self.median("seconds")

    @property
    def peak_megabytes(self) -> float:
        return self.median("peak_rss_bytes") / 1e6

    @property
    def error(self) -> str:
        return next((run.error for run in self.runs if run.error), "")

    @property
    def equal(self) -> str:
        verdicts = [run.equal for run in self.runs if run.equal is not None]
        return "not compared" if not verdicts else ("yes" if all(verdicts) else "**NO**")


def lines(runs: Sequence[Run], case: Case) -> list[Line]:
    """One line per engine that ran, in the order of the case."""
    mine = {name: tuple(run for run in runs if (run.case, run.engine) == (case.name, name)) for name in case.engines}
    return [Line(name, found) for name, found in mine.items() if found]


def table(case: Case, found: Sequence[Line]) -> str:
    """Markdown of one case; ratios are to our median of the same case."""
    ours = next((line.seconds for line in found if line.engine == "ours" and not line.error), None)
    rows = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for line in found:
        if line.error:
            rows.append(f"| {line.engine} | {_escaped(line.error)} |" + " |" * (len(HEADER) - 2))
            continue
        spread = [run.seconds for run in line.runs]
        above = statistics.median(run.peak_rss_bytes - run.start_rss_bytes for run in line.runs) / 1e6
        cells = [
            line.engine,
            f"{line.seconds:.2f} ({min(spread):.2f} to {max(spread):.2f})",
            f"{line.seconds / ours:.2f}" if ours else "",
            f"{line.peak_megabytes:.0f}",
            f"{above:.0f}",
            f"{line.median('peak_pss_bytes') / 1e6:.0f}",
            f"{line.median('written_bytes') / 1e6:.1f}",
            f"{line.median('written_files'):.0f}",
            f"{line.median('commits'):.0f}",
            f"{line.median('requests'):.0f}" if case.latency_ms else "",
            line.equal,
        ]
        rows.append("| " + " | ".join(cells) + " |")
    conflicts = [f"{line.engine} {line.median('conflicts'):.0f}" for line in found if len(case.batches) > 1]
    note = f"\nConflicts, each answered by trying again: {', '.join(conflicts)}.\n" if conflicts else ""
    return f"### ({case.name}) {case.title}\n\n" + "\n".join(rows) + "\n" + note


def machine() -> str:
    """One sentence on what it ran on."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    cores = len(re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"Machine: {cpu[1] if cpu else platform.machine()}, {cores} cores, "
        f"{int(memory[1]) / 1e6 if memory else 0:.0f} GB, Linux {platform.release()}, tables in the page cache. "
        f"Python {platform.python_version()}, {libraries}, deltalite 0.1.15 on Python 3.12, ducklake for duckdb 1.5.5."
    )


def publish(results: Path) -> None:
    """Replaces what is between the markers of the README, and the plots."""
    runs = [Run(**json.loads(line)) for line in results.read_text().splitlines()]
    found = {case: lines(runs, case) for case in CASES}
    shown = {case: mine for case, mine in found.items() if mine}
    PLOTS.mkdir(exist_ok=True)
    good = {case: [line for line in mine if not line.error] for case, mine in shown.items()}
    bars(
        {
            c.name: {ln.engine: (ln.seconds, ln.peak_megabytes) for ln in mine}
            for c, mine in good.items()
            if not c.name.startswith("g")
        },
        PLOTS / "cases.png",
        list(ENGINES),
    )
    growth(_sweep(good), PLOTS / "growth.png")
    text = "\n".join(
        [
            BEGIN,
            "",
            machine(),
            "",
            "![time and memory](plots/cases.png)",
            "",
            "![growth](plots/growth.png)",
            "",
            *(table(case, mine) for case, mine in shown.items()),
            END,
        ]
    )
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(before + text + rest.partition(END)[2])


def _sweep(good: dict[Case, list[Line]]) -> dict[str, list[tuple[float, float, float]]]:
    """engine -> (megabytes at rest, seconds, peak megabytes) over the growth cases."""
    points: dict[str, list[tuple[float, float, float]]] = {}
    for case, mine in good.items():
        if case.name.startswith("g"):
            for line in mine:
                points.setdefault(line.engine, []).append((float(case.name[1:]), line.seconds, line.peak_megabytes))
    return points


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
