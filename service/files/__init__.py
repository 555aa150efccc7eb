"""Files: from a request's body through a decoder and the network to an answer."""
