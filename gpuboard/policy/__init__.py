"""The policy: pure functions from a World and the waiting queue to a Plan. No clock, no I/O."""
