"""HTML of the shop. All values go through ``escape``."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .catalog import PRODUCTS, picture

if TYPE_CHECKING:
    from decimal import Decimal

    from .catalog import Product
    from .people import Person


def document(title: str, content: str, person: Person | None, dashboard: str) -> str:
    """Return a page. It has nothing of User.com, which the middleware adds."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E\
%3Ccircle cx='16' cy='16' r='16' fill='%23a4451d'/%3E%3Cpath d='M9 11h14l-2 12H11z' fill='%23faf7f2'/%3E%3C/svg%3E">
<link rel="stylesheet" href="/static/shop.css">
</head>
<body>
<header class="top">
  <a class="brand" href="/">Tern</a>
  {_account(person)}
</header>
<main>
{content}
</main>
<footer>
  <p>Tern is made up, and so is what it sells. It shows <strong>usercom-asgi</strong> at work:
  what you do here is sent to <a href="{escape(dashboard)}">{escape(dashboard.partition("//")[2])}</a>.</p>
</footer>
</body>
</html>
"""


def home() -> str:
    """Return the list of products."""
    shelf = "\n".join(_card(product) for product in PRODUCTS.values())
    return f"""<section class="hero">
  <h1>Stoneware for every&nbsp;day</h1>
  <p>Four pieces, thrown and glazed by hand in small batches. Made to be used, chipped, and&nbsp;loved.</p>
</section>
<ul class="shelf">
{shelf}
</ul>"""


def product(product: Product) -> str:
    """Return a product with the button that buys it."""
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in product.facts
    )
    return f"""<p class="back"><a href="/">All pieces</a></p>
<article class="product">
  <div class="plate {escape(product.sku)}">{picture(product.sku)}</div>
  <div class="words">
    <h1>{escape(product.name)}</h1>
    <p class="glaze">{escape(product.glaze)} glaze</p>
    <p class="story">{escape(product.story)}</p>
    <dl>{facts}</dl>
    <form class="buy" method="post" action="/buy/{escape(product.sku)}">
      <span class="price">{_money(product.price)}</span>
      <button class="main">Buy now</button>
    </form>
  </div>
</article>"""


def thanks(product: Product, person: Person | None) -> str:
    """Return the page after a purchase."""
    name = f", {escape(person.first_name)}" if person else ""
    return f"""<section class="thanks">
  <div class="plate {escape(product.sku)}">{picture(product.sku)}</div>
  <h1>Thank you{name}</h1>
  <p>Your <strong>{escape(product.name.lower())}</strong> would now be wrapped in straw and on its way,
  and you would be {_money(product.price)} poorer.</p>
  <p><a class="main" href="/">Back to the shelf</a></p>
</section>"""


def not_found() -> str:
    """Return the page for unknown addresses."""
    return """<section class="thanks">
  <h1>Nothing here</h1>
  <p>It may have been sold, or broken on the way out of the kiln.</p>
  <p><a class="main" href="/">Back to the shelf</a></p>
</section>"""


def _card(product: Product) -> str:
    return f"""<li><a href="/products/{escape(product.sku)}">
  <div class="plate {escape(product.sku)}">{picture(product.sku)}</div>
  <h2>{escape(product.name)}</h2>
  <p><span>{escape(product.glaze)}</span> <span class="price">{_money(product.price)}</span></p>
</a></li>"""


def _account(person: Person | None) -> str:
    if person is None:
        inside = f"""<span>Log in as</span> {_button("/login/alice", "Alice")} {_button("/login/bob", "Bob")}"""
    else:
        initial = f'<span class="initial" aria-hidden="true">{escape(person.first_name[:1])}</span>'
        inside = f"""<span class="who">{initial}{escape(person.name)}</span> {_button("/logout", "Log out")}"""
    return f'<div class="account">{inside}</div>'


def _button(action: str, label: str) -> str:
    # A form, because a browser may prefetch a link and would log the person out.
    return f'<form method="post" action="{escape(action)}"><button>{escape(label)}</button></form>'


def _money(amount: Decimal) -> str:
    return f"€&thinsp;{amount:.2f}"
