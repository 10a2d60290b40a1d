"""The checks, one file a theme; ``catalogue.all_checks`` lists them."""
