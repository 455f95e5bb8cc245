"""The nouns of gpuboard as frozen data, and their spelling: no clock, no I/O.

This file stays empty so that `gpuboard.model.durations` costs the command line nothing but itself.
Instants are integer milliseconds since the Unix epoch in fields that end in `_at`, spans integer
seconds in fields that end in `_s`, memory bytes in `_bytes`. Views (`views.py`) are what leaves
the daemon: there instants are ISO-8601 UTC strings.
"""
