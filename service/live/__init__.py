"""Live streams: one WebSocket each, one network for all."""
