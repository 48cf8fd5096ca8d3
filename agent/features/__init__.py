"""What the models see: the table of features, the windows behind it, live and over a history."""
