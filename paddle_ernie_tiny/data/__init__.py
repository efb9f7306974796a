"""From files to token ids: labelled tables, the general corpus, the one way to tokenise."""
