"""Use cases, and who may do what; free of transport."""
