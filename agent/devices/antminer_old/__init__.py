"""Driver for the stock firmware of Antminers before the S19: web forms, and configuration files by ssh."""
