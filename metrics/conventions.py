"""What the measures take unless told otherwise; a program's --help reads this file at once."""

THRESHOLD = 0.4  # of a map's range, above which a model looks
SHARE = 0.25  # of a map's pixels, where masks have equal area
THRESHOLDS = (0.3, THRESHOLD, 0.5)  # shown side by side
SHARES = (0.1, SHARE, 0.5)
BINS = 15
LEVEL = 0.05  # of a verdict: p below it
MOST_REPLICATES = 1000  # that a plan looks at
LEAST_VARIATION = 1e-12  # of a variable, as a share of its squares: less is rounding
