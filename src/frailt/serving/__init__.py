"""`frailt serve`: one model behind the HTTP interface that OpenAI's clients speak."""
