"""The engine: observe, plan, intent, act, outcome; recover. `protocol` is the seam for a cluster."""
