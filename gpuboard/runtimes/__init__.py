"""Runtimes: what runs a job. docker, process, simulated; and what a person may ask of a container."""
