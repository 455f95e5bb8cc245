"""Widgets drawn with the Line API, and nothing that fetches."""
