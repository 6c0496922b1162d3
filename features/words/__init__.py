"""The words of a text: word pieces, Chinese words, and files of word vectors."""
