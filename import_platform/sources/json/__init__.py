"""JSON values as Arrow columns, and the paths that lead to them."""
