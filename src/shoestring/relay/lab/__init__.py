"""A switch and a PC on a simulated clock; not part of relay.pyz."""
