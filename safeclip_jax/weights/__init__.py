"""A model's files: ours, Hugging Face's and open_clip's, read and written."""
