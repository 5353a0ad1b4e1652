"""An HTML response becomes a page with the widget."""
