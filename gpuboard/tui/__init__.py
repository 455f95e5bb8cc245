"""The terminal app: Textual, one feed, screens and widgets."""
