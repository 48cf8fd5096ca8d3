"""Wall power from meters: read, tied to miners, compared with what the miners say of themselves."""
