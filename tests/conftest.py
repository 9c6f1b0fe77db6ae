"""Puts this folder on the path of all tests: helpers that several folders share stand here."""
