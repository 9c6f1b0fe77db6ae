"""Everything drawn: figures by subject, what they share, and their place on the page."""
