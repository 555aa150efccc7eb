"""The demo page: its files, and what only it asks of the server.

`assets` serves the files; `routes` answers `POST /page/…`, which changes with the page and is no
part of the API: the envelope and the spectrogram that the page draws, segments anew from
probabilities that it has, and audio to be played or saved.
"""
