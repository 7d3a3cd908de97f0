"""What the measures take unless told otherwise; a program's --help reads this file at once."""

THRESHOLD = 0.4  # of a map's range, above which a model looks
SHARE = 0.25  # of a map's pixels, where masks have equal area
BINS = 15
