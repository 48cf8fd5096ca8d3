"""Ingest API, fleet database, approvals and the web page where people decide."""
