"""The interactive inspector: the widget, the page that stands alone, and what travels to the browser for them."""
