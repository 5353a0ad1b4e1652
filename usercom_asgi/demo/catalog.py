"""The four products of the shop."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path

_PICTURES = Path(__file__).parent / "pictures"


@dataclass(frozen=True, slots=True)
class Product:
    """Product of the shop."""

    sku: str
    name: str
    glaze: str
    price: Decimal
    story: str
    facts: tuple[tuple[str, str], ...]


@cache
def picture(sku: str) -> str:
    """Return the product's picture, trusted SVG."""
    return (_PICTURES / f"{sku}.svg").read_text("utf-8")


_PRODUCTS = (
    Product(
        "cup",
        "Morning cup",
        "Terracotta",
        Decimal("24.00"),
        "Thrown thin at the lip and left bare at the foot, where your hand finds it. Holds a long coffee and stays warm "
        "through the second page of the paper.",
        (
            ("Size", "9 cm tall, 280 ml"),
            ("Clay", "Speckled stoneware"),
            ("Care", "Dishwasher safe"),
        ),
    ),
    Product(
        "bowl",
        "Supper bowl",
        "Sage",
        Decimal("38.50"),
        "Wide enough for noodles, deep enough for soup, and quiet on the table. The glaze breaks to olive where it runs thin.",
        (
            ("Size", "18 cm across, 900 ml"),
            ("Clay", "Speckled stoneware"),
            ("Care", "Oven safe to 220 °C"),
        ),
    ),
    Product(
        "vase",
        "Single-stem vase",
        "Slate",
        Decimal("46.00"),
        "For the one branch you brought home from the walk. A narrow neck keeps it upright, a heavy foot keeps it there.",
        (("Size", "24 cm tall"), ("Clay", "Dark stoneware"), ("Care", "Rinse by hand")),
    ),
    Product(
        "teapot",
        "Teapot for two",
        "Ochre",
        Decimal("89.00"),
        "Pours without a drip; we tried eleven spouts before this one. The handle is bent cane and stays cool.",
        (("Size", "700 ml"), ("Clay", "Smooth stoneware"), ("Care", "Rinse by hand, no soap")),
    ),
)

PRODUCTS = {product.sku: product for product in _PRODUCTS}
