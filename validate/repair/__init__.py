"""The fixed copy of a dataset, and the proof that it is the dataset that was found."""
