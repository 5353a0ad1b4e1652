"""The examples of the frameworks, with the routes that only the checks need."""
