"""Reports of a sweep: `document.py` is the model, `text`, `markdown`, `latex`, `html` and `long_table` write it.

Import from the files: only `plots/` and `html` load matplotlib, which would delay a table on a terminal.
"""
