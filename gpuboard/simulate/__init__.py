"""Traces in, tables out, through the same policy."""
