"""Reads a trace with Perfetto's trace processor and compares busy times and flows with what is expected.

python3 trace_processor_check.py TRACE EXPECTED; exit status 77 where the package or its binary is absent.
TRACE_PROCESSOR names a trace_processor_shell; without it the package would fetch one from a network.
"""

import json
import os
import sys
from pathlib import Path

try:
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig
except ImportError:
    print("skipped: the Python package perfetto is not installed")
    sys.exit(77)


def find_shell():
    """A trace_processor_shell on this machine, or None."""
    if path := os.environ.get("TRACE_PROCESSOR"):
        return path
    cached = sorted(Path.home().glob(".local/share/perfetto/prebuilts/trace_processor_shell*"))
    return str(cached[-1]) if cached else None


def main():
    trace, expected = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    shell = find_shell()
    if shell is None:
        print("skipped: no trace_processor_shell (set TRACE_PROCESSOR)")
        sys.exit(77)
    processor = TraceProcessor(trace=trace, config=TraceProcessorConfig(bin_path=shell))
    rows = processor.query("""
        select process.name as device, thread.name as stream, sum(slice.dur) as busy, max(slice.depth) as depth
        from slice join thread_track on slice.track_id = thread_track.id
        join thread using (utid) join process using (upid) group by utid""")
    busy = {}
    for row in rows:
        busy[row.device, row.stream] = row.busy
        assert row.depth == 0, f"slices overlap on {row.device} {row.stream}"
    assert busy == {(device, stream): time for device, stream, time in expected["busy"]}, busy
    flows = next(iter(processor.query("select count(*) as flows from flow"))).flows
    assert flows == expected["flows"], f"{flows} flows, expected {expected['flows']}"
    problems = [f"{row.name} = {row.value}" for row in
                processor.query("select name, value from stats where severity in ('error', 'data_loss') and value > 0")]
    assert not problems, problems
    processor.close()


if __name__ == "__main__":
    main()
