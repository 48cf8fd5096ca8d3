"""Telemetry that is kept: rows packed per poll, journalled, and turned into a lake of Parquet files."""
