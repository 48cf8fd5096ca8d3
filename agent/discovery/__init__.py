"""Finding miners on the network and keeping the inventory file in step with what was found."""
