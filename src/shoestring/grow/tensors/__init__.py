"""What growing an axis does to the numbers of a tensor."""
