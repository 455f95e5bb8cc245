"""Devices: probes, processes on devices, health, history."""
