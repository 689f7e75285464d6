"""Records to numbers: metrics, rows, ranks, alarms, comparisons."""
