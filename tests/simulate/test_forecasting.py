"""The forecast held against traces."""

from __future__ import annotations

import pytest

from gpuboard.errors import InvalidRequest
from gpuboard.simulate.forecasting import run_forecast
from gpuboard.simulate.trace import TraceJob


def test_a_queue_of_one_is_foretold_to_the_second():
    jobs = [TraceJob(n, "ann", n, 1, 500, 500) for n in range(1, 4)]
    assert run_forecast(jobs, gpus=1)["forecast"] == {
        "jobs": 2,
        "no_later_than_held": 1.0,
        "p90_coverage": 1.0,
        "median_error_s": 0.0,
    }


def test_where_nobody_waits_nothing_is_claimed():
    told = run_forecast([TraceJob(1, "ann", 0, 1, 5, 5)], gpus=1)["forecast"]
    assert told == {
        "jobs": 0,
        "no_later_than_held": None,
        "p90_coverage": None,
        "median_error_s": None,
    }


def test_a_job_wider_than_the_box_is_refused():
    with pytest.raises(InvalidRequest, match="wants 2"):
        run_forecast([TraceJob(1, "ann", 0, 2, 5, 5)], gpus=1)


def test_the_hpc2n_log_is_foretold_as_well_as_promised(traces):
    told = run_forecast(traces / "hpc2n_s.csv.gz", gpus=240)["forecast"]
    assert told["jobs"] > 1000
    assert told["no_later_than_held"] >= 0.94
    assert 0.88 <= told["p90_coverage"] <= 0.92
    assert told["median_error_s"] <= 1165


def test_a_part_of_the_kth_log_is_foretold_as_well_as_promised(traces):
    told = run_forecast(traces / "kth_sp2.csv.gz", gpus=100, forecasts=1200)["forecast"]
    assert told["no_later_than_held"] >= 0.94
    assert 0.86 <= told["p90_coverage"] <= 0.94  # a sample of 500
    assert told["median_error_s"] <= 2439
