"""PurifyBench: whether an adversarial-purification defense really works, measured."""
