"""Integrations with other projects, each of which needs an extra."""
