"""Outboxes that other projects' brokers carry."""
