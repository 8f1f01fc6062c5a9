"""What vendors add to 802.1X."""
