"""A change from intent on disk to confirmation by telemetry, or its undo."""
