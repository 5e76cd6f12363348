"""Load and apply the words of all languages; `words/` has one data file for each language."""
