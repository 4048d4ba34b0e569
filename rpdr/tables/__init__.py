"""Tables as files: how the rows of any are read, which column a name means, what could not be read, and tables that are mapped. Readers of knowledge bases and mentions share it."""
