"""The terminal app: one feed in, Line-API widgets out. Knows only the client, the model and errors."""
