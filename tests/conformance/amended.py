"""asyncio as the contract has it: the rows in which ferry differs on purpose, put into asyncio.

A scenario says "amend: C-11 C-16", and the oracle then plays by these rows. It is for generated
scenarios, which meet the known differences all the time; each row here has a scenario of its own
in scenarios/ that shows the difference without an amendment.
"""
from asyncio import selector_events

ROWS = {"C-11", "C-12", "C-16", "C-22", "T-018", "A-005"}
rows = set()  # of the scenario that is being played


def install():
    pass
