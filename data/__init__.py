"""Lists of words that come with AutoLLM; README.md says where they are from."""
