"""HTTP: what a connection may hold and do."""
