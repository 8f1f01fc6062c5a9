"""802.1X login through a router that then keeps the session alive. Standard library only."""
