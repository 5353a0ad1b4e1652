"""Background delivery of commands."""
