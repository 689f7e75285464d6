"""Purification defenses, one method per file; every module here is scanned for plug-ins."""
