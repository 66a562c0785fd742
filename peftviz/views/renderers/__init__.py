"""Translations of the view model: text, Markdown, static HTML, pandas and Graphviz."""
