"""Commands reach User.com, and nobody waits for it."""
