"""Shows snapshots to Prometheus: the metric catalogue, the text formats, the web server."""
