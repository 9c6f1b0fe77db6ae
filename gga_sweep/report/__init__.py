"""A sweep told: tables in six forms, the HTML page, plans and prices on a terminal, what was chosen as a sweep file.

Import from the files: only `plots/` and `html` load matplotlib, and a table on a terminal should not wait for it.
"""
