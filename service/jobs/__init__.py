"""Jobs: recordings that lie elsewhere, worked through in the background, across restarts."""
