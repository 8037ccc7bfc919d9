"""The bundled data set of programming questions, written by us and released under CC0-1.0."""
