"""The six tabs of the app, one a module."""
