"""Where audio for training and measuring comes from, and under which licences it stands."""
