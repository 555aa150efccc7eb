"""The turn-detection subset of the OpenAI Realtime API."""
