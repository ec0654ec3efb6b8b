"""Reference models of a target, trained on seeded halves of a pool of records; `train_references` does it all."""
