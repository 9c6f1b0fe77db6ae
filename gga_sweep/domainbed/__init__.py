"""DomainBed interchange: its results read and its tables printed, our ledger written as it writes its own."""
