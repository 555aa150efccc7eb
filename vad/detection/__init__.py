"""From probabilities to speech: live streams and whole recordings."""
