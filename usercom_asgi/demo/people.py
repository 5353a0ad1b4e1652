"""Two customers, without passwords and without a database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Person:
    """Customer with an account."""

    id: str
    first_name: str
    last_name: str
    email: str
    customer_since: date

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}"


PEOPLE = {
    "alice": Person("1001", "Alice", "Novak", "alice@example.com", date(2023, 4, 12)),
    "bob": Person("1002", "Bob", "Lindqvist", "bob@example.com", date(2025, 1, 30)),
}
