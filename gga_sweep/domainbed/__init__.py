"""Reads DomainBed's results and makes its tables by its rules; writes our ledger as a DomainBed tree."""
