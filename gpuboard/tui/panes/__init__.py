"""The five tabs of the app, one a module."""
