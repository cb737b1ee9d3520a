"""Text, Markdown, JSON and plots from a `Snapshot`, and what to do about an anomaly."""
