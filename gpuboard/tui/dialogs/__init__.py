"""Modal screens, imported when they are first opened."""
