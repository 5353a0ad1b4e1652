"""HTTP calls to User.com; only ``client`` imports httpx."""
