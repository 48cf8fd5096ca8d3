"""Do the models still fit: the fleet against what they learned from, predictions against telemetry."""

# What the keys of all drift alerts begin with; then family and feature, apart by colons.
DRIFT_PREFIX = "drift:"
