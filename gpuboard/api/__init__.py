"""HTTP and JSON on a Unix socket: server, messages, and a client of the standard library alone."""
