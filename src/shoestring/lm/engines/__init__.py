"""Models that run: one interface, over torch and over llama.cpp."""
