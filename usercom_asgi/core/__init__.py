"""The vocabulary of the package: configuration, commands, receipts. It imports nothing else of it."""
