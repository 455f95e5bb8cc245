"""gpuboard: book a GPU, run a container on it, watch it; one shared box, no cluster software."""

__version__ = "0.1.0"
