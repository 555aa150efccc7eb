"""A network at work: one engine for many signals, on numpy or torch, without torch on a CPU."""
