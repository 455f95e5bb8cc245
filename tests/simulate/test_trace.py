"""Reading traces: CSV, SWF, gzip, and what is none."""

from __future__ import annotations

import gzip

import pytest

from gpuboard.errors import InvalidRequest
from gpuboard.simulate.trace import TraceJob, read_trace

HEAD = "job_id,user,submit,gpus,runtime,limit\n"
CSV = "job_id,user,submit,gpus,runtime,limit\n2,bob,60,4,10,30\n1,ann,0,1,90,60\n"


def test_a_csv_is_read_by_submission_and_a_limit_never_cuts_the_run(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(CSV)
    assert read_trace(path) == [
        TraceJob(1, "ann", 0, 1, 90, 90),
        TraceJob(2, "bob", 60, 4, 10, 30),
    ]


def test_a_gzipped_trace_is_the_same_trace(tmp_path):
    plain, packed = tmp_path / "trace.csv", tmp_path / "trace.csv.gz"
    plain.write_text(CSV)
    packed.write_bytes(gzip.compress(CSV.encode()))
    assert read_trace(packed) == read_trace(plain)


def test_swf_takes_requested_processors_and_time_and_leaves_out_what_never_ran(tmp_path):
    path = tmp_path / "log.swf"
    path.write_text(
        "; MaxProcs: 8\n"
        "1 0 5 100 2 -1 -1 4 200 -1 1 7 1 1 1 1 -1 -1\n"
        "2 9 5 100 2 -1 -1 -1 -1 -1 1 8 1 1 1 1 -1 -1\n"
        "3 9 5 -1 2 -1 -1 4 200 -1 0 7 1 1 1 1 -1 -1\n"
    )
    assert read_trace(path) == [
        TraceJob(1, "u7", 0, 4, 100, 200),
        TraceJob(2, "u8", 9, 2, 100, 100),
    ]


def test_an_swf_line_that_tells_of_a_part_of_a_job_or_of_no_processor_is_no_job(tmp_path):
    path = tmp_path / "log.SWF"
    path.write_bytes(
        b"; Acknowledge: \xc5ke\r\n"
        b"1 0 5 100 2 -1 -1 2 200 -1 1 7 1 1 1 1 -1 -1\r\n"
        b"1 0 5 60 2 -1 -1 2 200 -1 2 7 1 1 1 1 -1 -1\r\n"
        b"1 70 5 40 2 -1 -1 2 200 -1 3 7 1 1 1 1 -1 -1\r\n"
        b"2 80 -1 0 0 -1 -1 2 200 -1 5 7 1 1 1 1 -1 -1\r\n"
    )
    assert read_trace(path) == [TraceJob(1, "u7", 0, 2, 100, 200)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks the column job_id"),
        ("job_id,user,submit,gpus,runtime\n", "lacks the column limit"),
        ("job_id,user,submit,gpus,runtime,limit\n", "has no job"),
        (
            "job_id,user,submit,gpus,runtime,limit\n1,ann,0,one,9,9\n",
            "line 2 .* gpus: 'one' is not a number",
        ),
        ("job_id,user,submit,gpus,runtime,limit\n1,ann\n", "line 2 .* submit: '' is not a number"),
        (f"{HEAD}1,,0,1,9,9\n", "line 2 .* user: nobody"),
        (f"{HEAD}1,ann,0,-2,9,9\n", "gpus: -2"),
        (f"{HEAD}1,ann,0,0,9,9\n", "leave out jobs that had none"),
        (f"{HEAD}1,ann,0,1,-5,9\n", "runtime: -5 s"),
        (f"{HEAD}1,ann,-1,1,5,9\n", "submit: -1 s"),
        (f"{HEAD}1,ann,0,1,inf,9\n", "runtime: 'inf' is not a number"),
        (f"{HEAD}1,ann,0,1,9,1e30\n", "limit: '1e30' is not a number of seconds"),
        (f"{HEAD}1,ann,0,1.5,9,9\n", "line 2 .* gpus: '1.5' is not a whole number"),
        (f"{HEAD}j1,ann,0,1,9,9\n", "line 2 .* job_id: 'j1' is not a number"),
        (f"{HEAD}1,{'a' * 140_000},0,1,9,9\n", "cannot read"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path, text, words):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=words) as refused:
        read_trace(path)
    assert "line" not in words or refused.value.hint


def test_a_table_written_by_hand_or_by_a_spreadsheet_is_read(tmp_path):
    """Names with spaces and capitals, numbers with a point, no limit: none of it is ambiguous."""
    path = tmp_path / "trace.csv"
    path.write_text("Job_ID, User, Submit, GPUs, Runtime, Limit\n1.0, ann, 0.0, 4.0, 10.4,\n")
    assert read_trace(path) == [TraceJob(1, "ann", 0, 4, 10, 10)]


def test_a_missing_or_broken_file_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="cannot read"):
        read_trace(tmp_path / "none.csv")
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(b"no gzip")
    with pytest.raises(InvalidRequest, match="cannot read"):
        read_trace(broken)


@pytest.mark.parametrize("spoil", [lambda data: data[:-12], lambda data: data[:30] + b"\xff" * 20])
def test_a_damaged_archive_is_refused_in_words(tmp_path, spoil):
    """One that ends early is not an interruption, and broken data no fault of ours."""
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(spoil(gzip.compress((CSV + CSV[len(HEAD) :] * 200).encode())))
    with pytest.raises(InvalidRequest, match="cannot read the trace"):
        read_trace(path)


def test_a_short_swf_line_is_refused(tmp_path):
    path = tmp_path / "log.swf"
    path.write_text("1 0 5 100 2\n")
    with pytest.raises(InvalidRequest, match="5 columns, SWF has 18"):
        read_trace(path)


def test_submissions_count_from_the_first_one(tmp_path):
    """A file that counts from 1970, or that begins with a mark of its encoding, is no other trace."""
    path = tmp_path / "trace.csv"
    path.write_text("\ufeff" + HEAD + "1,ann,1700000000,1,9,9\n2,ann,1700000005,1,9,9\n")
    assert [one.submit_s for one in read_trace(path)] == [0, 5]
