"""One request's visitor: who it is, and the commands about them."""
