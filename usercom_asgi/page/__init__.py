"""Injects the widget into HTML responses."""
