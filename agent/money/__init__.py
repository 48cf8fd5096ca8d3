"""What hashing pays and electricity costs, now and over the horizon, and how sure that is."""
