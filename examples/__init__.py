"""Example applications. Start with ``starlette_shop.py``, which ``make demo`` runs."""
