"""`msa serve`: a warm model behind REST, and a page to try it and to browse the posts."""
