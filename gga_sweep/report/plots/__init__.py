"""The plots of a report, and their titles and captions."""
