"""Vocabulary of the package: configuration, commands, receipts."""
