from vad.cli.main import main

main()
