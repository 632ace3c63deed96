"""The measured process: `python -m bench.extract.child REQUEST` brings one table up to date, prints one line of JSON.

The clock starts after the imports and after the same work on a table of 500 rows, which brings what libraries import on
first use. The peak is the kernel's own (VmHWM), reset when the clock starts.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bench.child import reset_peak, status_bytes
from bench.extract.engines import ENGINES


def main() -> None:
    request = json.loads(sys.argv[1])
    sync = ENGINES[request["engine"]]()
    folder = Path(request["folder"])
    sync(request["dsn"], "tiny", folder / "warm")
    reset_peak()
    start_bytes = status_bytes("VmRSS")
    began = time.perf_counter()
    rows = sync(request["dsn"], request["table"], folder / "measured")
    seconds = time.perf_counter() - began
    result = {
        "seconds": seconds,
        "rows": rows,
        "start_rss_bytes": start_bytes,
        "peak_rss_bytes": status_bytes("VmHWM"),
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
