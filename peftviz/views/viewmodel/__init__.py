"""The view model: one columnar table of what a reader sees, made once, so that renderers decide nothing."""
