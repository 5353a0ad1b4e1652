"""Types for parameters of FastAPI's handlers, with their dependencies.

The parameter ``visitor: CurrentVisitor`` is short for
``visitor: Annotated[Visitor, Depends(get_visitor)]``. Nothing else of the package
imports FastAPI.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Depends

from .accessors import RunningDelivery, get_delivery, get_visitor
from .visitor.visitor import Visitor

__all__ = ["CurrentDelivery", "CurrentVisitor"]

#: The visitor of this request or websocket.
CurrentVisitor: TypeAlias = Annotated[Visitor, Depends(get_visitor)]
#: The delivery of this process, for health routes.
CurrentDelivery: TypeAlias = Annotated[RunningDelivery, Depends(get_delivery)]
