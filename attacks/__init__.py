"""Attacks on purified classifiers; every module here is scanned for plug-ins."""
