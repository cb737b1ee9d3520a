"""The three dashboards, made of plain dicts."""
