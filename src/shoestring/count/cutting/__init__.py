"""jieba's cut, token for token, and the other tokenizers."""
