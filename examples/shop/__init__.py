"""Products, customers and HTML of ``examples/starlette_shop.py``."""
