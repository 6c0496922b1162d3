"""Files that hold many images: Parquet and Arrow tables, tar files. Opened once, and read where they lie."""
