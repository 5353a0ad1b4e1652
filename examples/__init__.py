"""Applications that show the library at work. Start with ``starlette_shop.py``; ``make demo`` runs it."""
