"""The site of the documents: `make docs`, or python -m docs.maker."""
