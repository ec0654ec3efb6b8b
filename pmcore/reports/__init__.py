"""The forms of the report: each is rendered from the report's JSON model alone."""
