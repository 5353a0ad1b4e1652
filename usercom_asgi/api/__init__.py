"""Speaks User.com's HTTP; the only code that imports httpx and h11."""
