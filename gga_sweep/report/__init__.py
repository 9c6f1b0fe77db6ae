"""Tables in text, Markdown and JSON, plots, and the HTML page: each from the same `Table`.

Import from the files: only `plots` and `html` load matplotlib, and a table on a terminal should not wait for it.
"""
