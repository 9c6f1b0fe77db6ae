"""DomainBed's results read and tabled by its rules; our ledger written as a DomainBed tree."""
