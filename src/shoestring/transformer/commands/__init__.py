"""`shoestring tokenizer`, `pretrain`, `convert` and `rank`."""
