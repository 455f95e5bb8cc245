"""Measurements: each prints ratios or counts against something run beside it, never asserts in the suite."""
