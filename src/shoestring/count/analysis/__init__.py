"""What the counts say: Zipf's and Heaps' laws, keyness, new words, where the time goes."""
