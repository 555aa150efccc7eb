"""The command line. `vad.cli.main:main` is its entry; nothing here imports numpy or torch before
a command needs them."""
