"""Outbox over any broker that taskiq supports."""
