"""What heads train on: cached features joined to posts, and the folds that they are judged on."""
