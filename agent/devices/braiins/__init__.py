"""BraiinsOS 25.07 and newer, by its public REST interface."""
