"""`python -m import_platform.cli`: the console script where no scripts folder is on the path."""

from import_platform.cli import main

main()
