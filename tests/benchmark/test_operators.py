"""The profiler's text becomes operations of one call."""

import pytest

from paddle_ernie_tiny.benchmark.bench import difference, parse_report

REPORT = """
Total time: 100.0
  Computation time       Total: 80.0     Ratio: 80%
Event                                      Calls       Total       Min.        Max.        Ave.        Ratio.
thread0::fc                                {fc}          {fc_ms}     0.048561    3.58345     0.278205    0.55743
thread0::softmax              {softmax}     {softmax_ms}     0.036909    4.72e-01    0.057393    0.01769
thread0::Executor::Run                     1           49.6387     49.6387     49.6387     49.6387     0.12751
  Executor::RunPartialPreparedContext      1           48.0        48.0        48.0        48.0        0.11
"""


def test_two_reports_are_compared():
    few = parse_report(REPORT.format(fc=6, fc_ms=30.0, softmax=3, softmax_ms=3.5))  # 3 calls, the first are slow
    many = parse_report(REPORT.format(fc=46, fc_ms=90.0, softmax=23, softmax_ms=23.5))  # 20 calls more
    assert few["fc"] == (6, 30.0)
    fc, softmax = difference(few, many, 20)
    assert fc == {"operation": "fc", "calls": 2.0, "ms": 3.0, "share": 0.75}
    assert softmax == pytest.approx({"operation": "softmax", "calls": 1.0, "ms": 1.0, "share": 0.25})


def test_a_report_without_operations_is_empty():
    assert parse_report("no profile\nthread0::fc  x y z\n") == {}
