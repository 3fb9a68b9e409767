"""One self-contained page and a model card for each release."""
