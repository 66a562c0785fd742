"""What is seen: text, HTML, pandas, Graphviz and the widget. Reads core only."""
