"""From a list of words to a trained model: words, examples, optimisers, the training loop, dreaming."""
