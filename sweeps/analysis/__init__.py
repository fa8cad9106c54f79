"""The results of a search: the confirmation, the winner, figures and the report."""
