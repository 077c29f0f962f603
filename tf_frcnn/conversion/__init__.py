"""Data sets in formats that are not read here, written anew in one that is."""
