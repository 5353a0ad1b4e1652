"""``usercom-asgi check``: a configuration and its workspace, tried by calls."""
