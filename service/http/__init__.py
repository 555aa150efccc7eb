"""HTTP: the routes, what they say of themselves, and what a connection may hold and do."""
