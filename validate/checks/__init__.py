"""The checks, one file a theme; ``registry.all_checks`` lists them."""
