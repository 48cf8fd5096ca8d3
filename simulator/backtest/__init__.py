"""What policies would have earned: a simulated farm against recorded prices, without sockets or waiting."""
