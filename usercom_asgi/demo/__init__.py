"""The command `usercom-asgi demo`: a small shop beside a local User.com."""
