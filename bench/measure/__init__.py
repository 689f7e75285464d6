"""Cells to records: build, attack, judge, on one worker or many."""
