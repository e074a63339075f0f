"""The bundled preference pairs: set files, the script that builds the rows from them, and their checks."""
