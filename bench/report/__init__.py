"""Boards to documents: tables, pages, charts."""
