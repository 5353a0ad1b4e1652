"""The ASGI middleware: the only room that knows all the others."""
