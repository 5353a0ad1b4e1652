"""What the shop sells, to whom, and what it looks like. How it uses the library is in ``examples/starlette_shop.py``."""
