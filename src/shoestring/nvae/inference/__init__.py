"""What a trained model is asked: likelihood, samples, walks, distances."""
