"""The record: SQLite, WAL, synchronous=FULL, one connection on one thread."""
