"""Do the models still fit: the fleet against what they learned from, predictions against telemetry."""
