"""Model bundles: loaded with every check, and run over all miners and candidates at once."""
