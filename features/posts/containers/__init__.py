"""Files that hold many posts: tables and tar files with their images inside, texts of several lines a post."""
